"""Which soups are made of the trials of one target domain."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from oodtune.config import CombineConfig
from oodtune.stages.trials import OpenTrial
from oodtune.trial import Trial

BASELINE = "plain"
INITIAL: tuple[str, ...] = ("the initial state",)
"""The end of a path that no trial has moved."""


@dataclass(frozen=True)
class SoupPlan:
    """One soup to be made."""

    name: str
    row: str
    rule: Literal["uniform", "greedy", "greedy_not_worse", "model_stock", "between"]
    ingredients: tuple[str, ...]
    """Names of trials, or of states along the trajectory of one."""
    ends: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Of `between`: each end is the uniform soup of these."""
    share: float = 0.0
    """Of the way from the first end to the second."""
    trial: Trial | None = None
    """Whose trajectory it averages."""


def plan_soups(group: Sequence[OpenTrial], config: CombineConfig) -> list[SoupPlan]:
    """Return the soups of one target domain's trials; an average of a single state is none."""
    by_method: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for trial in group:
        by_method[trial.record.trial.method] += (trial.name,)
    names = tuple(trial.name for trial in group)
    plans = [SoupPlan(f"{rule}_soup", f"{rule}_soup", rule, names) for rule in config.soups if len(names) > 1]
    if config.by_method and len(by_method) > 1:
        plans += _soups_of_methods(by_method)
    plans += _paths(by_method, config.shares)
    return [*plans, *_trajectory_soups(group)]


def _soups_of_methods(by_method: Mapping[str, tuple[str, ...]]) -> Iterator[SoupPlan]:
    for method, names in by_method.items():
        if len(names) > 1:
            yield SoupPlan(f"{method}_soup", f"{method}_soup", "uniform", names)


def _paths(by_method: Mapping[str, tuple[str, ...]], shares: Sequence[float]) -> Iterator[SoupPlan]:
    """From the initial state to each method (WiSE-FT), and from plain fine-tuning to each other method."""
    for method, names in by_method.items():
        for share in shares:
            name = f"{method}_wise_{share:g}"
            yield SoupPlan(name, name, "between", names, (INITIAL, names), share)
    plain = by_method.get(BASELINE, ())
    for method, names in by_method.items():
        for share in shares if plain and method != BASELINE else ():
            name = f"{BASELINE}_to_{method}_{share:g}"
            yield SoupPlan(name, name, "between", (*plain, *names), (plain, names), share)


def _trajectory_soups(group: Sequence[OpenTrial]) -> Iterator[SoupPlan]:
    for trial in group:
        if len(trial.trajectory) > 1:
            row = f"{trial.record.trial.method}_trajectory_soup"
            name = f"{trial.name}-trajectory_soup"
            yield SoupPlan(name, row, "uniform", tuple(trial.trajectory), trial=trial.record.trial)
