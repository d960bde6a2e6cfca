"""Weight averages of trials that share an initial state."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from oodtune.errors import ArtifactError

State = Mapping[str, Tensor]


def uniform_soup(ingredients: Mapping[str, Callable[[], State]]) -> dict[str, Tensor]:
    """Return the mean of all ingredients' weights, tensor by tensor.

    Uniform soup of Wortsman et al., "Model soups", arXiv 2203.05482, section 2; with one shared initial
    state it is DiWA's uniform average (Rame et al., arXiv 2205.09739). `ingredients` maps a name to a
    function that loads its state dict: one is in memory at a time, beside the running sum. Sums are in
    float64 and in the order of names, so the result does not depend on the order of `ingredients`.

    Batch-norm statistics are frozen in training and integers cannot be averaged: those must be equal.
    Raises ArtifactError if they are not, or if the names or shapes of the weights differ.
    """
    assert ingredients, "a soup needs an ingredient"
    first, *others = sorted(ingredients)
    reference = ingredients[first]()
    sums = {name: tensor.double() for name, tensor in reference.items() if _is_averaged(name, tensor)}
    for other in others:
        state = ingredients[other]()
        _check_alike(reference, state, first, other)
        for name, running in sums.items():
            running.add_(state[name])
    averages = {name: (total / len(ingredients)).to(reference[name].dtype) for name, total in sums.items()}
    return {**reference, **averages}


def _is_averaged(name: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not name.endswith((".running_mean", ".running_var"))


def _check_alike(reference: State, state: State, first: str, other: str) -> None:
    different = sorted(set(reference) ^ set(state)) or [
        name
        for name, tensor in state.items()
        if tensor.shape != reference[name].shape
        or (not _is_averaged(name, tensor) and not torch.equal(tensor, reference[name]))
    ]
    if different:
        raise ArtifactError(
            f"soup of {first} and {other}: expected equal names, shapes and frozen statistics, found "
            f"{different[0]!r} to differ; average only trials of one initial state and one network"
        )
