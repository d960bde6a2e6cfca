"""A folder of objects named by their md5, filled from a DVC remote. What is in it was hashed first."""

import hashlib
import http.client
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oodtune.errors import DataError, UserError
from oodtune.locks import lock_file
from oodtune.progress import Progress

_THREADS = 16
_PROBE_TIMEOUT_S = 4.0


class ObjectStore:
    """Objects at `path/<first two digits>/<rest>`, as DVC lays them out; listings end in `.dir`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open_remote: Callable[[], tuple[Any, str | None]] | None = None
        self._remote: Any = None
        self._where = ""

    def attach(self, open_remote: Callable[[], tuple[Any, str | None]], where: str) -> None:
        """Fetch from the remote that `open_remote` returns with its endpoint; it is called when first needed."""
        self._open_remote, self._where = open_remote, where

    def locate(self, oid: str) -> Path:
        return self.path / oid[:2] / oid[2:]

    def fetch(self, wanted: Mapping[str, str], progress: Progress) -> None:
        """Bring the objects `wanted` (md5 -> what it is, for messages) that are missing or damaged.

        Raises UserError if the remote cannot be used, DataError for an object that is missing or altered.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        missing = [oid for oid in wanted if not _is_whole(self.locate(oid), oid)]
        done = len(wanted) - len(missing)
        progress(done, len(wanted), "already here")
        if not missing:
            return
        remote = self._connect()
        # Written beside the final place: a fetch that is killed never leaves half an object under its hash.
        with _make_partial_dir(self.path) as partial_dir:
            pool = ThreadPoolExecutor(_THREADS)
            try:
                jobs = [pool.submit(self._fetch_one, remote, oid, wanted[oid], partial_dir) for oid in missing]
                for count, job in enumerate(as_completed(jobs), start=done + 1):
                    job.result()
                    progress(count, len(wanted), "fetched")
            finally:
                pool.shutdown(cancel_futures=True)

    def _connect(self) -> Any:
        if self._remote is None:
            assert self._open_remote is not None
            remote, endpoint = self._open_remote()
            if endpoint:
                probe_endpoint(endpoint)
            self._remote = remote
        return self._remote

    def _fetch_one(self, remote: Any, oid: str, what: str, partial_dir: Path) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        partial, place = partial_dir / oid, self.locate(oid)
        source = remote.oid_to_path(oid)
        try:
            remote.fs.get_file(source, str(partial))
        except FileNotFoundError as error:
            raise DataError(
                f"{self._where}: {what}: expected the object {source} in the remote, found none "
                f"({one_line(error)}); check the bucket, or run `dvc push` where the data is"
            ) from None
        except PermissionError as error:
            raise UserError(
                f"{self._where}: {what}: the remote refuses these credentials for {source} ({one_line(error)}); "
                f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from None
        except (BotoCoreError, ClientError, OSError) as error:
            raise UserError(
                f"{self._where}: {what}: could not fetch {source} ({one_line(error)}); "
                f"check credentials, network and disk, then run again: what is here is kept"
            ) from None
        if not _is_whole(partial, oid):
            raise DataError(
                f"{self._where}: {what}: expected an object with md5 {oid.removesuffix('.dir')}, found another content "
                f"at {source}; it was altered in the remote: push the right one again"
            )
        place.parent.mkdir(exist_ok=True)
        partial.replace(place)


@contextmanager
def _make_partial_dir(store_dir: Path) -> Iterator[Path]:
    """Yield a folder of this fetch alone, after removing those of fetches that were killed."""
    with ExitStack() as stack:
        # One at a time: between its making and its locking, a folder would look like that of a killed fetch.
        with lock_file(store_dir / "partial.lock", wait=True):
            _remove_abandoned(store_dir)
            partial_dir = Path(tempfile.mkdtemp(prefix="partial-", dir=store_dir))
            stack.callback(shutil.rmtree, partial_dir, ignore_errors=True)
            stack.enter_context(lock_file(partial_dir / "lock", wait=True))
        yield partial_dir


def _remove_abandoned(store_dir: Path) -> None:
    for partial_dir in store_dir.glob("partial-*"):
        with suppress(OSError), lock_file(partial_dir / "lock", wait=False) as lock:
            if lock == "ours":
                shutil.rmtree(partial_dir, ignore_errors=True)


def probe_endpoint(endpoint: str) -> None:
    """Raise UserError unless something speaks HTTP at `endpoint`: boto would try for 45 s to find that out."""
    address = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(address.hostname or "", address.port, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("HEAD", "/")
            connection.getresponse()
        finally:
            connection.close()
    except ssl.SSLError:
        return  # something answers; whose certificate it is, boto judges by its own settings
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"{endpoint}: expected an S3 service, none answers within {_PROBE_TIMEOUT_S:g} s ({one_line(error)}); "
            f"start it, or correct data.dvc.endpoint_url or the remote's endpointurl"
        ) from None


def _is_whole(path: Path, oid: str) -> bool:
    try:
        with path.open("rb") as stream:
            # md5 because that is what DVC records; it finds damage, and is no defence against forgery.
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return False
    return digest == oid.removesuffix(".dir")


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, without line breaks and at most 300 characters long."""
    return " ".join(str(error).split())[:300] or type(error).__name__
