"""Both Kubeflow pipelines on this machine, as commands, and what they left on the volume that their tasks share."""

from dataclasses import dataclass
from pathlib import Path

from oodtune.artifact import MANIFEST, Artifact, open_artifact
from pipelines.build import PipelineName
from tests.fixtures.s3 import BIN, BUCKET
from tests.fixtures.tiny_sweep import PROJECT_DIR, tiny_settings, write_settings
from tests.system.chaos import Command, Place
from tests.system.repository import TARGET

REGISTRY = f"s3://{BUCKET}/models"
IMAGES_PER_CELL = 24
SECTIONS: dict[str, dict[str, object]] = {
    "preprocess": {"size": 32},
    "train": {"steps": 60, "snapshot_every": 20, "checkpoint_every": 5, "batch_per_domain": 8},
    "sweep": {"target_domains": [TARGET], "methods": ["plain", "large_dropout"], "learning_rates": [0.001]},
    "select": {"target_domain": TARGET},
    "methods": {"plain": {"dropout": 0.0}, "large_dropout": {"dropout": 0.5}},
    "export": {"max_abs_difference": 0.001},
}


@dataclass(frozen=True)
class Kubeflow:
    place: Place
    repository: Path
    endpoint_url: str

    @property
    def outputs(self) -> Path:
        return self.place.directory / "outputs"

    def start(self, name: PipelineName, rev: str, **changes: dict[str, object]) -> Command:
        """Start a pipeline on a revision of the data, with single keys of the settings changed."""
        params = self.place.directory / "params.yaml"
        sections = SECTIONS | {
            "data": {"source": "dvc", "dvc": {"url": f"file://{self.repository}", "rev": rev, "path": "data"}}
        }
        sections |= {key: sections.get(key, {}) | values for key, values in changes.items()}
        write_settings(params, tiny_settings(self.place.directory, **sections))
        where: list[str | Path] = ["--project", PROJECT_DIR, "--params", params, "--output", self.outputs]
        limit = ["--limit-per-cell", str(IMAGES_PER_CELL)]
        return Command.start(self.place, [BIN / "oodtune", "pipeline", "run", name, "--local", *where, *limit])

    def publishing(self) -> dict[str, object]:
        return {"url": REGISTRY, "endpoint_url": self.endpoint_url}

    def finished(self) -> dict[Path, int]:
        """Return manifest -> when it was written, in ns, of every artifact on the shared volume."""
        return {path: path.stat().st_mtime_ns for path in (self.outputs / "shared").glob(f"*/*/{MANIFEST}")}

    def newest_dataset(self) -> Path:
        """Return the dataset that the last run was about."""
        return max(
            (self.outputs / "shared/dataset").glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime
        ).parent

    def trials(self) -> list[Artifact]:
        """Return the finished trials. Raises ArtifactError if a file is not what its manifest says."""
        return [open_artifact(path.parent, "trial") for path in self.finished() if path.parent.parent.name == "trial"]


def path_in(lines: list[str], what: str) -> Path | None:
    """Return the path that a finished pipeline printed for its `bundle` or its `report`."""
    return next((Path(line.split(": ", 1)[1]) for line in lines if line.startswith(f"{what}: ")), None)
