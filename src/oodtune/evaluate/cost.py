"""What a row of the table costs: to train, to store, to answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oodtune.evaluate.predictions import Model
from oodtune.evaluate.table import GROUPS
from oodtune.trial import trial_of


@dataclass(frozen=True)
class Training:
    """What one trial took."""

    steps: int
    num_images: int
    """Images it was trained on, with repeats."""


@dataclass(frozen=True)
class Cost:
    """Of one model of a row, as a mean over the row's models."""

    row: str
    trials: float
    """That it is made of."""
    steps: float
    num_images: float
    networks: float
    """That compute a prediction."""
    megabytes: float | None
    """Of all its weights; None if that was not stored."""


def row_costs(models: Iterable[Model], trials: Mapping[str, Training]) -> list[Cost]:
    """Return the cost of every row, in the order of the table; `trials` by name, of all target domains."""
    rows: dict[str, list[Model]] = {}
    for model in sorted(models, key=lambda model: list(GROUPS).index(model.kind)):
        rows.setdefault(model.row, []).append(model)
    return [_cost(row, some, trials) for row, some in rows.items()]


def _cost(row: str, models: Sequence[Model], trials: Mapping[str, Training]) -> Cost:
    made_of = [_trials_of(model) for model in models]
    known = [[trials[name] for name in names if name in trials] for names in made_of]

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(models)

    return Cost(
        row=row,
        trials=mean(len(names) for names in made_of),
        steps=mean(sum(one.steps for one in some) for some in known),
        num_images=mean(sum(one.num_images for one in some) for some in known),
        networks=mean(model.num_networks for model in models),
        megabytes=mean(model.num_bytes / 1e6 for model in models) if all(m.num_bytes for m in models) else None,
    )


def _trials_of(model: Model) -> set[str]:
    return {trial_of(name) for name in model.members} or {model.name}
