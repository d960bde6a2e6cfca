"""What a row of the table costs: to train, to store, to answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oodtune.evaluate.predictions import Model
from oodtune.evaluate.table import GROUPS
from oodtune.trial import trial_of


@dataclass(frozen=True)
class Measured:
    """What one trial took on the machine that trained it."""

    seconds: float
    num_images: int
    """In that time, with repeats."""
    joules: float | None
    """None if the machine did not tell."""
    devices: str


@dataclass(frozen=True)
class Training:
    """What one trial took."""

    steps: int
    num_images: int
    """Images it was trained on, with repeats."""
    measured: Measured | None = None
    """None if it was not recorded."""


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
    seconds: float | None = None
    """A trial, the mean over the row's trials that recorded it; so with all below. None if none did."""
    images_per_s: float | None = None
    joules: float | None = None


@dataclass(frozen=True)
class Total:
    """What all trials together took."""

    trials: int
    recorded: int
    """Trials that say what they took; the rest of the fields is of these."""
    seconds: float
    joules: float | None
    """None if one of them does not know."""
    devices: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """One or two sentences."""
        if not self.recorded:
            return "What training took in time and energy was not recorded."
        some = self.recorded < self.trials
        which = f"{self.recorded} of {self.trials} trials" if some else f"{self.trials} trial{'s' * (self.trials > 1)}"
        energy = "" if self.joules is None else f" and {energy_in_words(self.joules)}"
        rest = " Of the others it was not recorded." if some else ""
        return f"{which} took {time_in_words(self.seconds)}{energy} in all, on {'; '.join(self.devices)}.{rest}"


def row_costs(models: Iterable[Model], trials: Mapping[str, Training]) -> list[Cost]:
    """Return the cost of every row, in the order of the table; `trials` by name, of all target domains."""
    rows: dict[str, list[Model]] = {}
    for model in sorted(models, key=lambda model: list(GROUPS).index(model.kind)):
        rows.setdefault(model.row, []).append(model)
    return [_cost(row, some, trials) for row, some in rows.items()]


def total_cost(trials: Iterable[Training]) -> Total:
    """Return what trials took together, each counted once."""
    every = list(trials)
    known = [one.measured for one in every if one.measured is not None]
    joules = [one.joules for one in known if one.joules is not None]
    return Total(
        trials=len(every),
        recorded=len(known),
        seconds=sum(one.seconds for one in known),
        joules=sum(joules) if joules and len(joules) == len(known) else None,
        devices=tuple(sorted({one.devices for one in known})),
    )


def time_in_words(seconds: float) -> str:
    """Return a time with its units, to two or three figures: `8.2 s`, `4 min 05 s`, `13 h 20 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60.0)
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def energy_in_words(joules: float) -> str:
    """Return an energy in watt-hours or kilowatt-hours, to three figures or so."""
    hours = joules / 3600.0
    return f"{hours / 1e3:,.2f} kWh" if hours >= 1e3 else f"{hours:.3g} Wh" if hours < 100.0 else f"{hours:,.0f} Wh"


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
        **_per_trial([trials[name] for name in sorted(set().union(*made_of)) if name in trials]),
    )


def _per_trial(trials: Sequence[Training]) -> dict[str, float]:
    """Return what was measured of different trials, as fields of a Cost; nothing of what no trial knows."""
    known = [one.measured for one in trials if one.measured is not None]
    joules = [one.joules for one in known if one.joules is not None]
    found = {}
    if known:
        found["seconds"] = sum(one.seconds for one in known) / len(known)
        found["images_per_s"] = sum(one.num_images for one in known) / sum(one.seconds for one in known)
    if joules:
        found["joules"] = sum(joules) / len(joules)
    return found


def _trials_of(model: Model) -> set[str]:
    return {trial_of(name) for name in model.members} or {model.name}
