"""Directories whose `manifest.json` is written last: no manifest, not finished.

A manifest holds no clock, host, commit or absolute path, so equal inputs give equal bytes. What was measured while
an artifact was made (time, energy) lies beside, in a file that the manifest does not list.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oodtune import __version__
from oodtune.config import Section, describe_validation_error
from oodtune.errors import ArtifactError
from oodtune.hashing import check_once, hash_files
from oodtune.locks import lock_file
from oodtune.reference import read_reference

Kind = Literal[
    "dataset", "cache", "init", "trial", "soup", "predictions", "selection", "bundle", "report", "screen", "corruptions"
]

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
    "screen": "oodtune screen",
    "corruptions": "oodtune corrupt",
}


class Manifest(BaseModel):
    """What an artifact is, what it was made from, and the hashes of its files."""

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
    """Path relative to the artifact -> sha256; of all files but measurements, which are not content."""


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
    notes_dir: Path
    """For what a resumed run needs and the artifact does not hold."""
    details: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """Path relative to the artifact -> sha256, of files that need not be read again to know it."""
    unlisted: set[str] = field(default_factory=set)
    """Paths relative to the artifact, of measurements: other bytes every time, so no part of what the artifact is.
    They move and are copied with the directory; the manifest does not name them, and nothing verifies them."""


@contextmanager
def create_artifact(
    out: Path,
    kind: Kind,
    params: Section | None = None,
    inputs: Mapping[str, Artifact] | None = None,
    resume: bool = False,
) -> Iterator[ArtifactWriter]:
    """Yield a writer; when the block ends well, hash its files, write the manifest and put it at `out`.

    Until then the files lie in a hidden sibling of `out`: what is at `out` is whole, old or new. With
    `resume`, an interrupted run leaves them for the next one of the same kind, params, inputs and version.
    Raises ArtifactError if another process is writing `out`.
    """
    out = Path(out)
    begun: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": kind,
        "version": __version__,
        "params": params.model_dump(mode="json") if params is not None else {},
        "inputs": {name: artifact.digest for name, artifact in sorted((inputs or {}).items())},
    }
    with _partial_directory(out, begun, resume) as partial:
        writer = ArtifactWriter(partial / "files", partial / "notes")
        (writer.path / MANIFEST).unlink(missing_ok=True)  # of a run that was killed just before the end
        yield writer
        manifest = Manifest(**begun, details=writer.details, files=_hash_files(writer))
        write_json(writer.path / MANIFEST, manifest.model_dump(mode="json", by_alias=True))
        _replace_directory(writer.path, out)


def open_artifact(path: Path, kind: Kind, verify: bool | Literal["once"] = True) -> Artifact:
    """Open the finished artifact at `path`, or the one that `path` refers to (see `reference`).

    `verify="once"` reads no file again that was verified before and not touched since; a hidden sibling
    of the artifact keeps that. Raises ArtifactError if there is no artifact, if it is of another kind,
    or if `verify` finds a file that is missing or altered.
    """
    referred = read_reference(Path(path))
    path = Path(path) if referred is None else referred.path
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
    if referred is not None and referred.digest != artifact.digest:
        raise ArtifactError(
            f"{path}: expected the {kind!r} artifact {referred.digest[:12]}, which a task referred to, found "
            f"{artifact.digest[:12]} in its place; run that task again"
        )
    if verify == "once":
        place = path.resolve()
        stamp_path = place.with_name(f".{place.name}.verified")
        check_once(place, sorted(manifest.files), artifact.digest, stamp_path, lambda: verify_artifact(artifact))
    elif verify:
        verify_artifact(artifact)
    return artifact


def verify_artifact(artifact: Artifact, names: Iterable[str] | None = None) -> None:
    """Hash every file again, or only `names`. Raises ArtifactError naming the first that is missing or altered."""
    chosen = sorted(artifact.manifest.files if names is None else names)
    for name, found in zip(chosen, hash_files(artifact.path / name for name in chosen), strict=True):
        _check_hash(artifact, name, found)


def read_verified(artifact: Artifact, name: str) -> bytes:
    """Return the bytes of the file `name`. Raises ArtifactError if it is missing or altered."""
    try:
        data = (artifact.path / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        _check_hash(artifact, name, None)
        raise
    _check_hash(artifact, name, hashlib.sha256(data).hexdigest())
    return data


def _check_hash(artifact: Artifact, name: str, found: str | None) -> None:
    if found != artifact.manifest.files[name]:
        state = "is missing" if found is None else "is not the file that was written"
        raise ArtifactError(
            f"{artifact.path}: {name} {state}; make the artifact again with `{MADE_BY[artifact.manifest.kind]}`"
        )


def write_json(path: Path, value: object) -> None:
    """Write `value` as readable JSON with sorted keys: equal values give equal bytes."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _hash_files(writer: ArtifactWriter) -> dict[str, str]:
    found_names = {path.relative_to(writer.path).as_posix() for path in writer.path.rglob("*") if path.is_file()}
    assert writer.hashes.keys() | writer.unlisted <= found_names
    names = sorted(found_names - writer.unlisted)
    unknown = [name for name in names if name not in writer.hashes]
    found = dict(zip(unknown, hash_files(writer.path / name for name in unknown), strict=True))
    return {name: writer.hashes.get(name) or str(found[name]) for name in names}


@contextmanager
def _partial_directory(out: Path, begun: Mapping[str, Any], resume: bool) -> Iterator[Path]:
    """Yield the hidden sibling of `out` with `files` and `notes` in it: empty ones, or those of an interrupted run."""
    partial = out.parent / f".{out.name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    finished = False
    with lock_file(partial / "lock", wait=False) as lock:
        if lock == "taken":
            raise ArtifactError(
                f"{out}: expected to be its only writer, found another process at it; wait for that, or pass another "
                "--out"
            )
        begun_path, text = partial / "begun.json", json.dumps(begun, sort_keys=True)
        if not (resume and begun_path.is_file() and begun_path.read_text(encoding="utf-8") == text):
            begun_path.unlink(missing_ok=True)  # first: from here on nothing in the directory counts
            for name in ("files", "notes"):
                shutil.rmtree(partial / name, ignore_errors=True)
            begun_path.write_text(text, encoding="utf-8")
        for name in ("files", "notes"):  # a run that was killed at the very end has moved its files away
            (partial / name).mkdir(exist_ok=True)
        try:
            yield partial
            finished = True
        finally:
            if finished or not resume:
                shutil.rmtree(partial, ignore_errors=True)


def _replace_directory(new: Path, out: Path) -> None:
    """Put `new` in the place of `out`, with nothing slow in between: what is at `out` is one or the other."""
    replaced = new.parent / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        out.replace(replaced)
    new.replace(out)
