"""Weights on the straight line between two states."""

import torch
from torch import Tensor

from oodtune.combine.alike import Pattern, State, Statistics


@torch.no_grad()
def interpolate(
    first: State,
    second: State,
    share: float,
    owners: tuple[str, str] = ("the first state", "the second state"),
    statistics: Statistics = "equal",
) -> dict[str, Tensor]:
    """Return (1 - share) * first + share * second, tensor by tensor, 0 <= share <= 1.

    WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903, section 3) is this
    between the initial state and that of a trial, `share` being its alpha. Between a plain trial and one with
    dropout, of one initial state, it trades accuracy on the source domains for accuracy elsewhere.
    Raises ArtifactError, naming the `owners`, if the states are not alike: see `uniform_soup`.
    """
    assert 0.0 <= share <= 1.0
    pattern = Pattern(owners[0], first, statistics)
    pattern.require(owners[1], second, "interpolation")
    mixed = {name: _mix(first[name], second[name], share) for name in pattern.averaged}
    return {**pattern.fixed, **mixed}


def _mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    mixed = first.to(torch.float64, copy=True).mul_(1.0 - share)
    return mixed.add_(second.double(), alpha=share).to(first.dtype)
