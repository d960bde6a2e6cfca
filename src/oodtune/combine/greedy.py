"""Greedy soups: an ingredient is kept if the average is better, or no worse, with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from oodtune.combine.alike import Ingredients, State, Statistics
from oodtune.combine.sums import Sums

Acceptance = Literal["better", "not_worse"]


@dataclass(frozen=True)
class Tried:
    """One step of a greedy soup."""

    name: str
    score: float
    """Of the average of what was accepted before and this ingredient."""
    accepted: bool


@dataclass(frozen=True)
class GreedySoup:
    """The weights, and how they came about."""

    state: dict[str, Tensor]
    trace: tuple[Tried, ...]
    """Every ingredient, in the order in which they were tried."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """Names of the ingredients that the weights are the mean of, best first."""
        return tuple(tried.name for tried in self.trace if tried.accepted)

    @property
    def score(self) -> float:
        """Of the weights: that of the ingredient accepted last."""
        return [tried.score for tried in self.trace if tried.accepted][-1]


def greedy_soup(
    ingredients: Ingredients,
    held_out_accuracy: Mapping[str, float],
    score: Callable[[State], float],
    accept: Acceptance = "better",
    statistics: Statistics = "equal",
) -> GreedySoup:
    """Try the ingredients in descending order of `held_out_accuracy`, ties by name, and keep those that help.

    An ingredient is kept if the mean of the weights kept so far and its own scores, on the same held-out
    examples, more than the best before (`accept="better"`: the published code of Wortsman et al., "Model
    soups", arXiv 2203.05482), or no less (`"not_worse"`: Recipe 1 of the paper, and DiWA's restricted
    selection, Rame et al., arXiv 2205.09739). The first is kept whatever its score, which is measured by
    `score`, too, as DiWA's code does: accuracies measured elsewhere give the order and nothing else.

    `score` takes a state that it must not keep; larger is better. Every ingredient is loaded once, and once
    more if it is kept. Memory is needed for two states at a time, beside sums as large as two.
    For `statistics` and what raises ArtifactError see `uniform_soup`.
    """
    assert ingredients, "a soup needs an ingredient"
    assert ingredients.keys() == held_out_accuracy.keys()
    sums, trace, best = Sums("greedy soup", statistics), list[Tried](), 0.0
    for name in sorted(ingredients, key=lambda one: (-held_out_accuracy[one], one)):
        value = score(sums.mean_with(name, ingredients[name]()))
        accepted = not trace or value > best or (accept == "not_worse" and value == best)
        trace.append(Tried(name, value, accepted))
        if accepted:
            sums.add(name, ingredients[name]())
            best = value
    return GreedySoup(sums.take_mean(), tuple(trace))
