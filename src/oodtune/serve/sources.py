"""What `oodtune serve X` means: a bundle, a directory that holds one, or an address in a registry."""

import shutil
import tempfile
from pathlib import Path
from typing import Final, Protocol

from oodtune.artifact import MANIFEST, open_artifact
from oodtune.errors import ArtifactError, UserError
from oodtune.progress import Progress, silent
from oodtune.reference import REFERENCE
from oodtune.registry.place import PRODUCTION, parse_address
from oodtune.registry.pull import fetch_bundle, find_published, find_version

MOUNT: Final = Path("/mnt/models")
"""Where KServe puts what a service's `storageUri` names."""
DIGEST_DIGITS: Final = 12
"""Of a bundle's digest, as the version of one that has no name in a registry."""
_LAYOUTS: Final = ("*", "versions/*")
"""Where a directory may hold bundles: beside each other, or as a registry does."""


class Source(Protocol):
    """Where bundles come from. Every method raises UserError if it cannot be used."""

    moves: bool
    """Whether it may mean another version tomorrow without anybody telling the server."""

    def find_version(self) -> str:
        """Return the version that it means now."""

    def fetch(self, version: str, progress: Progress = silent) -> Path:
        """Return the directory of a version that `find_version` has returned; bring it here if it is elsewhere."""

    def find_published(self, version: str) -> float | None:
        """Return when a version was published, in Unix time; None where nobody publishes."""

    def forget(self, keep: str) -> None:
        """Drop what was brought here, but for the version that is served now; "" is none."""


class DirectorySource:
    """A bundle on a disk. Export replaces it as a whole; the server looks again when it is told to (SIGHUP)."""

    moves: bool = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def find_version(self) -> str:
        return open_artifact(find_bundle(self._path), "bundle", verify=False).digest[:DIGEST_DIGITS]

    def fetch(self, version: str, progress: Progress = silent) -> Path:
        return find_bundle(self._path)

    def find_published(self, version: str) -> None:
        """A file's time says when it came here: None is more honest."""
        return

    def forget(self, keep: str) -> None:
        pass


class RegistrySource:
    """A model in an S3 bucket. What it brings here lies below TMPDIR, and goes when the server does."""

    def __init__(self, address: str, endpoint_url: str | None) -> None:
        self._address, self._endpoint_url = address, endpoint_url
        place, wanted = parse_address(address)
        self._model = place.address()
        self._cache: tempfile.TemporaryDirectory[str] | None = None
        self.moves = wanted == PRODUCTION

    def __str__(self) -> str:
        return self._address

    def find_version(self) -> str:
        return find_version(self._address, self._endpoint_url)

    def fetch(self, version: str, progress: Progress = silent) -> Path:
        # By its name: what is in production may be another one by now.
        return fetch_bundle(f"{self._model}@{version}", self._open_cache(), self._endpoint_url, progress)

    def find_published(self, version: str) -> float:
        return find_published(f"{self._model}@{version}", self._endpoint_url).timestamp()

    def forget(self, keep: str) -> None:
        if self._cache is None:
            return
        if not keep:
            self._cache.cleanup()
            self._cache = None
            return
        for path in Path(self._cache.name).iterdir():
            if path.is_dir() and path.name != keep:
                shutil.rmtree(path, ignore_errors=True)

    def _open_cache(self) -> Path:
        if self._cache is None:
            try:
                self._cache = tempfile.TemporaryDirectory(prefix="oodtune-serve-", ignore_cleanup_errors=True)
            except OSError as error:
                raise UserError(
                    f"{self._address}: expected a place for the bundle's files, found none that can be written "
                    f"({error.strerror}); set TMPDIR to a directory, as an emptyDir in Kubernetes"
                ) from None
        return Path(self._cache.name)


def find_source(named: str | Path | None, endpoint_url: str | None = None, mount: Path = MOUNT) -> Source:
    """Return the source that `named` is; None is what is mounted at `mount`.

    Nothing is read yet but whether `mount` is there. Raises UserError if nothing can be meant.
    """
    if named is None:
        if not mount.is_dir():
            raise UserError(
                f"expected a bundle to serve, found none: no name, and no directory {mount}; run `oodtune serve "
                "BUNDLE` with a directory from `oodtune export` or an address as s3://bucket/models/name, or set "
                "OODTUNE_BUNDLE"
            )
        return DirectorySource(mount)
    text = str(named)
    if text.startswith("s3://"):
        return RegistrySource(text, endpoint_url)
    if "://" in text:
        raise UserError(
            f"{text}: expected a directory or an address as s3://bucket/models/name, found another protocol; bring the "
            "bundle here, then serve its directory"
        )
    return DirectorySource(Path(named))


def find_bundle(path: Path) -> Path:
    """Return `path` if it is an artifact, else the one bundle that it holds, else `path`: whoever opens it complains.

    Raises ArtifactError if it holds several.
    """
    if (path / MANIFEST).is_file() or (path / REFERENCE).is_file():
        return path
    held = [one for layout in _LAYOUTS for one in sorted(path.glob(layout)) if _is_bundle(one)]
    if len(held) > 1:
        names = ", ".join(one.relative_to(path).as_posix() for one in held)
        raise ArtifactError(f"{path}: expected a bundle, or a directory that holds one, found {names}; choose one")
    return held[0] if held else path


def _is_bundle(path: Path) -> bool:
    if path.name.startswith("."):  # what an export or a fetch has not finished
        return False
    try:
        open_artifact(path, "bundle", verify=False)
    except ArtifactError:
        return False
    return True
