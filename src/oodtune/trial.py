"""One training run, what it leaves behind, and the one definition of a sweep that DVC, Kubeflow and the CLI share."""

import hashlib
from itertools import product
from typing import Self

from pydantic import ValidationError

from oodtune.config import (
    HeldOut,
    Name,
    PreprocessConfig,
    Section,
    SweepConfig,
    canonical_json,
    describe_validation_error,
)
from oodtune.errors import ConfigError


class Trial(Section):
    """One training run: which domain is held out, and how the others are trained on."""

    target_domain: HeldOut
    method: Name
    learning_rate: float
    weight_decay: float
    seed: int

    @property
    def name(self) -> str:
        """The trial's directory name. `dvc.yaml` spells it the same way; a contract test compares."""
        return f"{self.target_domain}-{self.method}-lr{self.learning_rate!r}-wd{self.weight_decay!r}-seed{self.seed}"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ConfigError if `text` is not a trial."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(f"trial: {describe_validation_error(error)}") from None

    def to_json(self) -> str:
        return canonical_json(self.model_dump(mode="json"))


def state_name(trial: str, step: int) -> str:
    """Return the name of the state of a trial after a step."""
    return f"{trial}@{step}"


def trial_of(name: str) -> str:
    """Return the trial that a trial's name, or that of one of its states, is of."""
    return name.partition("@")[0]


class NetworkSpec(Section):
    """What it takes to build the network that a weights file belongs to, and to use it."""

    backbone: str
    """timm model name."""
    classes: tuple[str, ...]
    preprocess: PreprocessConfig


class TrialRecord(Section):
    """The details of a `trial` artifact."""

    trial: Trial
    network: NetworkSpec
    init_digest: str
    """Names the initial state; only trials that share it may be averaged."""
    best_step: int
    """Of the snapshot that is kept; of an average, the last step that is in it or, for sma, of its snapshot."""
    averaged_steps: tuple[int, int] | None = None
    """First and last step of the states that the weights are the mean of; none if they are one state."""
    source_accuracy: float
    """Mean out-split accuracy of the weights over the source domains, 0..1."""
    trajectory: tuple[int, ...] = ()
    """Steps whose states are kept beside the weights, in `trajectory/<step>.safetensors`."""
    statistics_move: bool = False
    """Training changed batch-norm statistics: an average of such trials needs them estimated anew."""


class Tried(Section):
    """An ingredient that a greedy soup tried."""

    name: str
    score: float
    """Mean accuracy on the source out-splits, 0..1, of the average with it."""
    accepted: bool


class Soup(Section):
    """One weight average in a `soup` artifact."""

    target_domain: str
    name: str
    row: str
    """Its line in the table of results: the rule it is made by."""
    ingredients: tuple[str, ...]
    """Names of the trials, or of the states of one trial (`<trial>@<step>`), that it is made of."""
    path: str
    """Weights file, relative to the artifact."""
    tried: tuple[Tried, ...] = ()
    """Of a greedy soup: all ingredients in the order in which they were tried."""
    trial: Trial | None = None
    """Whose trajectory it averages, if it is one trial's."""


class SoupRecord(Section):
    """The details of a `soup` artifact."""

    network: NetworkSpec
    soups: tuple[Soup, ...]
    trials: tuple[str, ...]
    """Names of the trials that there were."""
    missing: tuple[str, ...] = ()
    """Names of those that were planned and are not there."""


def plan_trials(sweep: SweepConfig) -> list[Trial]:
    """Return the trials of the sweep in the order of its lists (DVC's matrix order).

    Without a budget they are all combinations. With one, so many settings are drawn at random, the same for every
    target domain and seed: random search (Bergstra & Bengio, JMLR 13, 2012) among those listed.
    """
    settings = list(product(sweep.methods, sweep.learning_rates, sweep.weight_decays))
    drawn = set(sorted(settings, key=_chance)[: sweep.budget])
    return [
        Trial(target_domain=target, method=method, learning_rate=rate, weight_decay=decay, seed=seed)
        for target, (method, rate, decay), seed in product(sweep.target_domains, settings, sweep.seeds)
        if (method, rate, decay) in drawn
    ]


def _chance(setting: tuple[str, float, float]) -> bytes:
    """Return a place in an order that has nothing to do with the setting, and is its own whatever others there are."""
    return hashlib.sha256(repr(setting).encode()).digest()
