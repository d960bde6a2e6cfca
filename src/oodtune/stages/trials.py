"""Which of the trials on disk belong to the sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oodtune.artifact import MANIFEST, Artifact, open_artifact
from oodtune.config import SweepConfig
from oodtune.errors import ArtifactError
from oodtune.trial import Trial, TrialRecord, plan_trials


@dataclass(frozen=True)
class OpenTrial:
    """A finished `trial` artifact and what it says of itself."""

    artifact: Artifact
    record: TrialRecord

    @property
    def weights_path(self) -> Path:
        return self.artifact.path / "weights.safetensors"


def open_trials(paths: Sequence[Path | str], verify: bool = True) -> dict[str, OpenTrial]:
    """Open trials, by name. A path is a `trial` artifact, or a directory that holds some."""
    trials = [_open_trial(path, verify) for path in _expand(paths)]
    return {trial.record.trial.name: trial for trial in sorted(trials, key=lambda one: one.record.trial.name)}


def open_planned_trials(paths: Sequence[Path | str], sweep: SweepConfig) -> dict[str, list[OpenTrial]]:
    """Open the trials of `sweep`, by target domain, in planned order; others on disk are left alone.

    Raises ArtifactError naming the planned trials that are missing.
    """
    found = open_trials(paths)
    planned: list[Trial] = plan_trials(sweep)
    missing = [trial.name for trial in planned if trial.name not in found]
    if missing:
        raise ArtifactError(
            f"expected the {len(planned)} trials of the sweep, found {len(planned) - len(missing)}; missing "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; run `oodtune train` for them"
        )
    by_target: dict[str, list[OpenTrial]] = {target: [] for target in sweep.target_domains}
    for trial in planned:
        by_target[trial.target_domain].append(found[trial.name])
    return by_target


def trial_inputs(trials: Sequence[OpenTrial]) -> dict[str, Artifact]:
    """Return the artifacts of trials, by name, as the inputs of what is made of them."""
    return {trial.record.trial.name: trial.artifact for trial in trials}


def _open_trial(path: Path, verify: bool) -> OpenTrial:
    artifact = open_artifact(path, "trial", verify=verify)
    return OpenTrial(artifact, TrialRecord.model_validate(artifact.details))


def _expand(paths: Sequence[Path | str]) -> list[Path]:
    expanded = []
    for path in map(Path, paths):
        if (path / MANIFEST).exists() or not path.is_dir():
            expanded.append(path)
        else:
            expanded += sorted(manifest.parent for manifest in path.glob(f"*/{MANIFEST}"))
    return expanded
