"""A small directory that stands for an artifact elsewhere, as pods hand on what lies on the volume they share.

Kubeflow copies an artifact into the pod of every task that reads it. Of images and weights, only this is copied.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from oodtune.errors import ArtifactError

REFERENCE = "reference.json"


@dataclass(frozen=True)
class Referred:
    """Where an artifact is, and which one it must be."""

    path: Path
    digest: str
    """sha256 of its manifest."""


def write_reference(directory: Path, target: Path, digest: str) -> None:
    """Make `directory` stand for the artifact at `target`, whose manifest has the sha256 `digest`."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"path": str(target.absolute()), "digest": digest}, sort_keys=True) + "\n"
    (directory / REFERENCE).write_text(text, encoding="utf-8")


def read_reference(directory: Path) -> Referred | None:
    """Return what `directory` stands for; None if it is no reference.

    Raises ArtifactError if it is a broken one, or if nothing is where it points.
    """
    try:
        text = (directory / REFERENCE).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        read = json.loads(text)
        referred = Referred(Path(read["path"]), str(read["digest"]))
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{directory / REFERENCE}: expected a reference to an artifact, found {text[:60]!r}; run the task again "
            "that made it"
        ) from None
    if not referred.path.exists():
        raise ArtifactError(
            f"{referred.path}: expected the artifact {referred.digest[:12]}, which a task referred to, found nothing; "
            "mount the volume that it is on, or run that task again"
        )
    return referred
