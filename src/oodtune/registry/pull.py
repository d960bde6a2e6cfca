"""A version there -> a bundle here."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath

from oodtune.artifact import MANIFEST, Manifest, open_artifact
from oodtune.errors import ArtifactError, RegistryError
from oodtune.locks import lock_file
from oodtune.progress import Progress, silent
from oodtune.registry.errors import explain
from oodtune.registry.ledger import choose_version, path_of, read_versions
from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.place import PRODUCTION, parse_address
from oodtune.registry.production import read_production
from oodtune.registry.transfer import Transfer, download_files


def fetch_bundle(
    address: str, destination_dir: Path, endpoint_url: str | None = None, progress: Progress = silent
) -> Path:
    """Bring the version at `address` to `destination_dir/VERSION` and return that path.

    It is there only when every sha256 was compared. What is there and whole is kept; what an interrupted
    fetch has brought is not brought again. Raises RegistryError.
    """
    place, wanted = parse_address(address)
    objects = open_objects(place, endpoint_url)
    version, digest = _resolve(objects, wanted)
    out = destination_dir / version
    with explain(place.address(path_of(version))):
        destination_dir.mkdir(parents=True, exist_ok=True)
        if not _is_whole(out, digest):
            with _partial_dir(out) as partial_dir:
                if not _is_whole(out, digest):  # another process may have brought it while this one waited
                    _fetch(objects, version, digest, partial_dir, progress)
                    _put(partial_dir, out)
    return out


def read_file(address: str, name: str, endpoint_url: str | None = None) -> bytes:
    """Return one file of the version at `address`, its sha256 compared. Raises RegistryError."""
    place, wanted = parse_address(address)
    objects = open_objects(place, endpoint_url)
    version, digest = _resolve(objects, wanted)
    _, manifest = _read_manifest(objects, version, digest)
    path = path_of(version, name)
    stored = objects.read(path)
    if stored is None:
        raise _gone(objects, path)
    if hashlib.sha256(stored.data).hexdigest() != manifest.files.get(name):
        raise RegistryError(
            f"{objects.place.address(path)}: checksum mismatch: expected the file that was published, found another "
            "content; choose another version, or restore the object"
        )
    return stored.data


def find_version(address: str, endpoint_url: str | None = None) -> str:
    """Return the version that `address` means now. Raises RegistryError if there is none."""
    place, wanted = parse_address(address)
    return _resolve(open_objects(place, endpoint_url), wanted)[0]


def find_published(address: str, endpoint_url: str | None = None) -> datetime:
    """Return when the version at `address` was published, by the clock of the service, in UTC. Raises RegistryError."""
    place, wanted = parse_address(address)
    objects = open_objects(place, endpoint_url)
    path = path_of(_resolve(objects, wanted)[0], MANIFEST)
    found = objects.list(path)
    if path not in found:
        raise _gone(objects, path)
    return found[path].modified


def _resolve(objects: Objects, wanted: str) -> tuple[str, str]:
    """Return the version that is meant, and the digest of its manifest."""
    versions = read_versions(objects)
    if wanted == PRODUCTION:
        pointed = read_production(objects).version
        if pointed is None:
            advice = "run `oodtune promote`" if versions else "publish a bundle, then run `oodtune promote`"
            raise RegistryError(f"{objects.place.address()}: expected a version in production, found none; {advice}")
        wanted = pointed
    version = choose_version(objects, wanted, list(versions))
    return version, versions[version]


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return open_artifact(path, "bundle").digest == digest
    except ArtifactError:
        return False


def _fetch(objects: Objects, version: str, digest: str, partial_dir: Path, progress: Progress) -> None:
    """Fill `partial_dir/files` with the version's files and no others."""
    files_dir, incoming_dir = partial_dir / "files", partial_dir / "incoming"
    shutil.rmtree(incoming_dir, ignore_errors=True)
    incoming_dir.mkdir()
    files_dir.mkdir(exist_ok=True)
    data, manifest = _read_manifest(objects, version, digest)
    there = objects.list(path_of(version))
    for name in manifest.files:
        if path_of(version, name) not in there:
            raise _gone(objects, path_of(version, name))
    files = [
        Transfer(files_dir / name, path_of(version, name), sha256, there[path_of(version, name)].size)
        for name, sha256 in sorted(manifest.files.items())
    ]
    download_files(objects, files, incoming_dir, progress)
    (files_dir / MANIFEST).write_bytes(data)


def _gone(objects: Objects, path: str) -> RegistryError:
    return RegistryError(
        f"{objects.place.address(path)}: expected a file of the version, found no object; it was deleted in the "
        "bucket: choose another version, or restore the object"
    )


def _read_manifest(objects: Objects, version: str, digest: str) -> tuple[bytes, Manifest]:
    where = objects.place.address(path_of(version, MANIFEST))
    stored = objects.read(path_of(version, MANIFEST))
    if stored is None:
        raise RegistryError(f"{where}: expected a finished version, found one without a manifest; publish it again")
    if hashlib.sha256(stored.data).hexdigest() != digest:
        raise RegistryError(
            f"{where}: checksum mismatch: expected sha256 {digest}, found another content; it was altered in the "
            "bucket: choose another version, or restore the object"
        )
    manifest = Manifest.model_validate_json(stored.data)
    for name in manifest.files:
        if not _stays_inside(name):
            raise RegistryError(
                f"{where}: expected files inside of the bundle, found {name!r}; do not use this version"
            )
    return stored.data, manifest


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = str(path) == name and "\\" not in name and ":" not in name
    return plain and not path.is_absolute() and ".." not in path.parts and name not in (".", MANIFEST)


@contextmanager
def _partial_dir(out: Path) -> Iterator[Path]:
    """Yield the hidden sibling of `out`, this process being alone in it; an error leaves it for the next fetch."""
    with lock_file(out.with_name(".lock"), wait=True):
        partial_dir = out.with_name(f".{out.name}.partial")
        partial_dir.mkdir(exist_ok=True)
        yield partial_dir
        shutil.rmtree(partial_dir, ignore_errors=True)


def _put(partial_dir: Path, out: Path) -> None:
    if out.exists():  # damaged, or it would have been kept
        shutil.rmtree(partial_dir / "replaced", ignore_errors=True)
        out.replace(partial_dir / "replaced")
    (partial_dir / "files").replace(out)
