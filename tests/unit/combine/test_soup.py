import pytest
import torch
from torch import Tensor

from oodtune.combine.soup import uniform_soup
from oodtune.errors import ArtifactError


def state(seed: int, **changes: Tensor) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    weights = {
        "conv.weight": torch.randn(4, 3, generator=random),
        "head.bias": torch.randn(5, generator=random),
    }
    frozen = {"bn.running_mean": torch.ones(4), "bn.num_batches_tracked": torch.tensor(7)}
    return {**weights, **frozen, **changes}


def soup_of(**states: dict[str, Tensor]) -> dict[str, Tensor]:
    return uniform_soup({name: lambda one=one: one for name, one in states.items()})  # type: ignore[misc]


def test_soup_of_one_trial_is_that_trial() -> None:
    trial = state(0)
    soup = soup_of(a=trial)
    assert soup.keys() == trial.keys()
    assert all(torch.equal(soup[name], tensor) for name, tensor in trial.items())


def test_soup_of_clones_is_the_clone() -> None:
    trial = state(0)
    soup = soup_of(a=trial, b=state(0), c=state(0))
    assert all(torch.equal(soup[name], tensor) for name, tensor in trial.items())


def test_soup_is_the_mean_of_weights() -> None:
    soup = soup_of(a=state(0), b=state(1), c=state(2))
    expected = torch.stack([state(seed)["conv.weight"] for seed in range(3)]).mean(0)
    assert torch.allclose(soup["conv.weight"], expected)
    assert soup["conv.weight"].dtype == torch.float32


def test_soup_does_not_depend_on_the_order_of_ingredients() -> None:
    forward = soup_of(a=state(0), b=state(1), c=state(2))
    backward = soup_of(c=state(2), b=state(1), a=state(0))
    assert all(torch.equal(backward[name], tensor) for name, tensor in forward.items())


def test_soup_leaves_its_ingredients_as_they_were() -> None:
    first = state(0)
    soup_of(a=first, b=state(1))
    assert all(torch.equal(tensor, state(0)[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bn.running_mean", torch.zeros(4)),
        ("bn.num_batches_tracked", torch.tensor(8)),
        ("conv.weight", torch.zeros(4, 4)),
        ("extra.weight", torch.zeros(1)),
    ],
)
def test_ingredients_that_do_not_match_are_refused_by_name(name: str, value: Tensor) -> None:
    with pytest.raises(ArtifactError, match=f"soup of a and b: .*{name}"):
        soup_of(a=state(0), b=state(1, **{name: value}))


def test_one_ingredient_is_in_memory_at_a_time() -> None:
    loaded: list[str] = []

    def load(name: str) -> dict[str, Tensor]:
        loaded.append(name)
        return state(len(loaded))

    uniform_soup({name: (lambda name=name: load(name)) for name in "cab"})  # type: ignore[misc]
    assert loaded == ["a", "b", "c"]
