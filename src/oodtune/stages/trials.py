"""Which of the trials on disk belong to the sweep, and where their weights are."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oodtune.artifact import MANIFEST, Artifact, open_artifact
from oodtune.config import SweepConfig
from oodtune.errors import ArtifactError
from oodtune.reference import REFERENCE
from oodtune.stages.failures import recorded_failures
from oodtune.trial import Trial, TrialRecord, plan_trials, state_name

WEIGHTS = "weights.safetensors"
TRAJECTORY = "trajectory"
"""Directory of the states that a trial keeps on the way."""


@dataclass(frozen=True)
class OpenTrial:
    """A finished `trial` artifact and what it says of itself."""

    artifact: Artifact
    record: TrialRecord

    @property
    def name(self) -> str:
        return self.record.trial.name

    @property
    def weights_path(self) -> Path:
        return self.artifact.path / WEIGHTS

    @property
    def trajectory(self) -> dict[str, str]:
        """Name of each state that was kept on the way, in the order of steps -> its file in the artifact."""
        return {state_name(self.name, step): trajectory_file(step) for step in self.record.trajectory}

    def weights_of(self, name: str) -> Path:
        """Return the weights file of the trial, or of one of its states, by name."""
        return self.weights_path if name == self.name else self.artifact.path / self.trajectory[name]


@dataclass(frozen=True)
class PlannedTrials:
    """The trials of a sweep that are there, and the names of those that are not."""

    by_target: Mapping[str, list[OpenTrial]]
    """In planned order; every target domain has one or more."""
    missing: tuple[str, ...]

    @property
    def all(self) -> list[OpenTrial]:
        return [trial for group in self.by_target.values() for trial in group]


def trajectory_file(step: int) -> str:
    """Return where a trial keeps its state after `step`."""
    return f"{TRAJECTORY}/{step:09d}.safetensors"


def open_trials(paths: Sequence[Path | str], verify: bool = True) -> dict[str, OpenTrial]:
    """Open trials, by name. A path is a `trial` artifact, or a directory that holds some."""
    trials = [_open_trial(path, verify) for path in expand(paths)]
    return {trial.name: trial for trial in sorted(trials, key=lambda one: one.name)}


def open_planned_trials(paths: Sequence[Path | str], sweep: SweepConfig) -> PlannedTrials:
    """Open the trials of `sweep`; others on disk are left alone.

    A warning names planned trials that are not there: one that failed must not stop the comparison of the rest.
    Raises ArtifactError if a target domain has none.
    """
    found = open_trials(paths)
    planned: list[Trial] = plan_trials(sweep)
    missing = tuple(trial.name for trial in planned if trial.name not in found)
    failed = [f"{name}: {reason}" for name, reason in recorded_failures(paths).items() if name in missing]
    by_target: dict[str, list[OpenTrial]] = {target: [] for target in sweep.target_domains}
    for trial in planned:
        if trial.name in found:
            by_target[trial.target_domain].append(found[trial.name])
    empty = [target for target, group in by_target.items() if not group]
    if empty:
        raise ArtifactError(
            f"expected trials for every target domain of the sweep, found {len(planned) - len(missing)} of "
            f"{len(planned)} trials and none for {', '.join(empty)}{_why(failed)}; run `oodtune sweep`, or "
            "`oodtune train` for them"
        )
    if missing:
        text = f"warning: {len(missing)} of {len(planned)} planned trials are missing: {_few(missing)}{_why(failed)}"
        print(text, file=sys.stderr)
    return PlannedTrials(by_target, missing)


def trial_inputs(trials: Sequence[OpenTrial]) -> dict[str, Artifact]:
    """Return the artifacts of trials, by name, as the inputs of what is made of them."""
    return {trial.name: trial.artifact for trial in trials}


def check_one_origin(group: Sequence[OpenTrial]) -> None:
    """Raise ArtifactError unless all share one network, classes and preprocessing included, and initial state."""
    first = group[0].record
    for other in (trial.record for trial in group[1:]):
        if other.network != first.network:
            raise ArtifactError(
                f"{other.trial.name}: expected the network of {first.trial.name}, found {_difference(first, other)}; "
                "combine only trials made with one backbone, one list of classes and one preprocessing"
            )
        if other.init_digest != first.init_digest:
            raise ArtifactError(
                f"{other.trial.name}: expected the initial state of {first.trial.name}, found another "
                f"({other.init_digest[:12]} against {first.init_digest[:12]}); train both from one `oodtune init`"
            )


def _difference(first: TrialRecord, other: TrialRecord) -> str:
    fields = type(first.network).model_fields
    different = [name for name in fields if getattr(first.network, name) != getattr(other.network, name)]
    return ", ".join(f"{name} {getattr(other.network, name)!s}" for name in different)


def _why(failed: Sequence[str]) -> str:
    return f" ({len(failed)} failed: {_few(failed)})" if failed else ""


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _open_trial(path: Path, verify: bool) -> OpenTrial:
    artifact = open_artifact(path, "trial", verify=verify)
    return OpenTrial(artifact, TrialRecord.model_validate(artifact.details))


def expand(paths: Sequence[Path | str]) -> list[Path]:
    """Return the trials that are meant: paths that are one, or refer to one; of other directories, those in them."""
    expanded: list[Path] = []
    for path in map(Path, paths):
        if _is_trial(path) or not path.is_dir():
            expanded.append(path)
        else:
            expanded += sorted(inner for inner in path.iterdir() if inner.is_dir() and _is_trial(inner))
    return expanded


def _is_trial(path: Path) -> bool:
    return (path / MANIFEST).exists() or (path / REFERENCE).exists()
