"""Directories whose `manifest.json` is written last: no manifest, not finished.

A manifest holds no clock, host, commit or absolute path, so equal inputs give equal bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oodtune import __version__
from oodtune.config import Section, describe_validation_error
from oodtune.errors import ArtifactError

Kind = Literal["dataset", "cache", "init", "trial", "soup", "predictions", "selection", "bundle", "report"]

MANIFEST = "manifest.json"
SCHEMA = 1
MADE_BY: dict[Kind, str] = {
    "dataset": "oodtune prepare",
    "cache": "oodtune cache",
    "init": "oodtune init",
    "trial": "oodtune train",
    "soup": "oodtune combine",
    "predictions": "oodtune evaluate",
    "selection": "oodtune select",
    "bundle": "oodtune export",
    "report": "oodtune report",
}


class Manifest(BaseModel):
    """What an artifact is, what it was made from, and the hash of every file in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: int = Field(alias="schema")
    kind: Kind
    version: str
    """Version of oodtune that wrote the artifact."""
    params: dict[str, Any]
    """The settings the stage used, and no others."""
    inputs: dict[str, str]
    """Name of each input artifact -> digest of its manifest."""
    details: dict[str, Any]
    """Facts of this kind of artifact: domains and licences, scores, lineage."""
    files: dict[str, str]
    """Path relative to the artifact -> sha256."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact on disk."""

    path: Path
    manifest: Manifest
    digest: str
    """sha256 of `manifest.json`: it names the content of the whole directory."""

    @property
    def details(self) -> dict[str, Any]:
        return self.manifest.details


@dataclass
class ArtifactWriter:
    """An artifact in the making: write files under `path`, facts into `details`."""

    path: Path
    details: dict[str, Any] = field(default_factory=dict)


@contextmanager
def create_artifact(
    out: Path, kind: Kind, params: Section | None = None, inputs: Mapping[str, Artifact] | None = None
) -> Iterator[ArtifactWriter]:
    """Yield a writer; when the block ends well, hash its files, write the manifest and put it at `out`.

    Until then the files lie in a hidden sibling of `out`: what is at `out` is whole, old or new.
    """
    out = Path(out)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    writer = ArtifactWriter(partial)
    try:
        yield writer
        manifest = Manifest(
            schema=SCHEMA,
            kind=kind,
            version=__version__,
            params=params.model_dump(mode="json") if params is not None else {},
            inputs={name: artifact.digest for name, artifact in sorted((inputs or {}).items())},
            details=writer.details,
            files=_hash_files(partial),
        )
        text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True, allow_nan=False)
        (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
        _replace_directory(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_artifact(path: Path, kind: Kind, verify: bool = True) -> Artifact:
    """Open the finished artifact at `path`.

    Raises ArtifactError if there is none, if it is of another kind, or if `verify` finds a file
    that is missing or altered.
    """
    path = Path(path)
    advice = f"make it with `{MADE_BY[kind]}`"
    try:
        data = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        found = "an unfinished directory" if path.is_dir() else ("a file" if path.exists() else "nothing")
        raise ArtifactError(f"{path}: expected a {kind!r} artifact, found {found}; {advice}") from None
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem = describe_validation_error(error)
        raise ArtifactError(f"{path / MANIFEST}: expected a manifest of oodtune ({problem}); {advice}") from None
    if manifest.schema_ != SCHEMA:
        raise ArtifactError(
            f"{path}: expected manifest schema {SCHEMA}, found {manifest.schema_}, written by oodtune "
            f"{manifest.version}; {advice} of this version"
        )
    if manifest.kind != kind:
        raise ArtifactError(
            f"{path}: expected a {kind!r} artifact, found {manifest.kind!r}; pass the output of `{MADE_BY[kind]}`"
        )
    artifact = Artifact(path, manifest, hashlib.sha256(data).hexdigest())
    if verify:
        verify_artifact(artifact)
    return artifact


def verify_artifact(artifact: Artifact) -> None:
    """Hash every file again. Raises ArtifactError naming the first that is missing or altered."""
    for name, expected in artifact.manifest.files.items():
        file = artifact.path / name
        if not file.is_file():
            state = "is missing"
        elif hash_file(file) != expected:
            state = "is not the file that was written"
        else:
            continue
        raise ArtifactError(
            f"{artifact.path}: {name} {state}; make the artifact again with `{MADE_BY[artifact.manifest.kind]}`"
        )


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write `value` as readable JSON with sorted keys: equal values give equal bytes."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _hash_files(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): hash_file(path) for path in sorted(files)}


def _replace_directory(new: Path, out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    elif out.exists():
        out.unlink()
    new.replace(out)
