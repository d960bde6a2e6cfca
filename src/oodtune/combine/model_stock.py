"""Model Stock: between the initial state and the mean of trials, as far as the trials agree."""

from dataclasses import dataclass

import torch
from torch import Tensor

from oodtune.combine.alike import Ingredients, Pattern, State, Statistics
from oodtune.combine.sums import chunks
from oodtune.errors import ArtifactError

ANCHOR = "the initial state"


@dataclass(frozen=True)
class ModelStock:
    """The weights, and how far each tensor is from its initial value."""

    state: dict[str, Tensor]
    shares: dict[str, float]
    """Name of a tensor -> t: 0 is the initial state, 1 the mean of the trials."""


@torch.no_grad()
def model_stock(initial: State, ingredients: Ingredients, statistics: Statistics = "equal") -> ModelStock:
    """Return (1 - t) * initial + t * mean of N ingredients, with a share t for each tensor.

    Jang et al., "Model Stock", arXiv 2403.19522, section 4: seen from an unknown centre, fine-tuned
    weights are equally far and at right angles to each other and to the initial weights. Of the plane
    through the initial and the fine-tuned weights, the point nearest to that centre is at

        t = N cos / (1 + (N - 1) cos),        N = 2: t = 2 cos / (1 + cos),

    with cos that of the angle between v_i and v_j, where v_i is a tensor of trial i less its initial value. For N > 2
    the paper takes all angles for equal. Here cos is the mean over pairs of v_i . v_j, divided by the mean over
    pairs of |v_i| |v_j|: a mean of the pairs' cosines that gives long vectors more weight. Both means come from
    sums, |sum v_i|^2 - sum |v_i|^2 and (sum |v_i|)^2 - sum |v_i|^2, so that no two trials need be in memory.
    Where trials disagree (cos <= 0), or have not moved a tensor, it keeps its initial value.

    Memory is needed for `initial` and one state at a time, beside sums as large as two.
    Raises ArtifactError if there are fewer than two ingredients or they are not alike: see `uniform_soup`.
    """
    if len(ingredients) < 2:
        raise ArtifactError(
            f"model stock: expected two trials or more, found {len(ingredients)}; plan more seeds, methods or rates"
        )
    pattern = Pattern(ANCHOR, initial, statistics)
    moves = {name: _Moves(initial[name]) for name in pattern.averaged}
    for owner in sorted(ingredients):
        _add(moves, pattern, owner, ingredients[owner]())
    shares = {name: move.share() for name, move in moves.items()}
    merged = {name: moves.pop(name).mean(share).to(pattern.dtypes[name]) for name, share in shares.items()}
    return ModelStock({**pattern.fixed, **merged}, shares)


def _add(moves: dict[str, "_Moves"], pattern: Pattern, owner: str, state: State) -> None:
    pattern.require(owner, state, "model stock")
    for name, move in moves.items():
        move.add(state[name])


class _Moves:
    """How far trials have moved one tensor: the sum of v_i, and every |v_i|."""

    def __init__(self, initial: Tensor) -> None:
        self._initial = initial
        self._sum = torch.zeros(initial.shape, dtype=torch.float64, device=initial.device)
        self._norms: list[float] = []

    def add(self, tensor: Tensor) -> None:
        square = 0.0
        for total, value, initial in chunks(self._sum, tensor, self._initial):
            move = value.double() - initial
            total.add_(move)
            square += float(move @ move)
        self._norms.append(square**0.5)

    def share(self) -> float:
        """Return t, 0..1."""
        count, squares = len(self._norms), sum(norm**2 for norm in self._norms)
        products = sum(self._norms) ** 2 - squares
        inner = float(self._sum.norm()) ** 2 - squares
        if inner <= 0.0 or products <= 0.0:
            return 0.0
        cosine = min(inner / products, 1.0)
        return count * cosine / (1.0 + (count - 1) * cosine)

    def mean(self, share: float) -> Tensor:
        """Return the initial value and `share` of the way to the mean, in float64; the sum is used up."""
        return self._sum.mul_(share / len(self._norms)).add_(self._initial)
