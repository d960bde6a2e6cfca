"""One training run, what it leaves behind, and the one definition of a sweep that DVC, Kubeflow and the CLI share."""

from itertools import product
from typing import Self

from pydantic import ValidationError

from oodtune.config import (
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

    target_domain: Name
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
    statistics_move: bool = False
    """Training changed batch-norm statistics: an average of such trials needs them estimated anew."""


class Soup(Section):
    """One weight average in a `soup` artifact."""

    target_domain: str
    name: str
    ingredients: tuple[str, ...]
    """Names of the trials it is the mean of."""
    path: str
    """Weights file, relative to the artifact."""


class SoupRecord(Section):
    """The details of a `soup` artifact."""

    network: NetworkSpec
    soups: tuple[Soup, ...]


def plan_trials(sweep: SweepConfig) -> list[Trial]:
    """Return every combination of the sweep's lists, in the order of the lists (DVC's matrix order)."""
    axes = product(sweep.target_domains, sweep.methods, sweep.learning_rates, sweep.weight_decays, sweep.seeds)
    return [
        Trial(target_domain=target, method=method, learning_rate=rate, weight_decay=decay, seed=seed)
        for target, method, rate, decay, seed in axes
    ]
