"""Files to S3 and back: in parts, many at once, and every byte compared with its sha256."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final

from oodtune.errors import RegistryError
from oodtune.hashing import hash_file
from oodtune.parallel import map_in_threads
from oodtune.progress import Progress
from oodtune.registry.errors import explain
from oodtune.registry.objects import Objects

_MB: Final = 1_000_000
_PART_BYTES: Final = 8 * 1024 * 1024
_REQUESTS: Final = 8
_ABANDONED_AFTER: Final = timedelta(days=1)
"""An upload of parts this old belongs to a publisher that was killed."""


@dataclass(frozen=True)
class Transfer:
    """One file here and its object there."""

    path: Path
    name: str
    """Path of the object below the model."""
    sha256: str
    num_bytes: int


def upload_files(objects: Objects, files: Sequence[Transfer], progress: Progress) -> None:
    """Write every file that is not there yet, its sha256 stored beside it.

    No object is made of bytes that are not those of its sha256; the service compares each part as well.
    Raises RegistryError.
    """
    there = list(map_in_threads(lambda file: objects.find_sha256(file.name), files))
    missing = [file for file, found in zip(files, there, strict=True) if found != (file.num_bytes, file.sha256)]
    count = _Counter(progress, files, missing)
    for file in missing:
        _abort_abandoned(objects, file.name)
    with ExitStack() as streams, _open_manager(objects) as manager:
        begun = []
        for file in missing:
            with explain(str(file.path)):
                stream = _HashedStream(file, streams.enter_context(file.path.open("rb")))
            extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": file.sha256}}
            place = objects.place
            begun.append(manager.upload(stream, place.bucket, place.key(file.name), extra, [count.subscribe(file)]))
        for file, future in zip(missing, begun, strict=True):
            with explain(objects.place.address(file.name)):
                future.result()


def download_files(objects: Objects, files: Sequence[Transfer], incoming_dir: Path, progress: Progress) -> None:
    """Bring every file that is not here yet, by way of `incoming_dir`: what is at its path has its sha256.

    Raises RegistryError, naming the object that has another content.
    """
    missing = [file for file in files if not (file.path.is_file() and hash_file(file.path) == file.sha256)]
    count = _Counter(progress, files, missing)
    with _open_manager(objects) as manager:
        begun = []
        for number, file in enumerate(missing):
            partial, place = incoming_dir / str(number), objects.place
            future = manager.download(place.bucket, place.key(file.name), str(partial), None, [count.subscribe(file)])
            begun.append((file, partial, future))
        for file, partial, future in begun:
            with explain(objects.place.address(file.name)):
                future.result()
                _accept(objects, file, partial)


def _accept(objects: Objects, file: Transfer, partial: Path) -> None:
    found = hash_file(partial)
    if found != file.sha256:
        raise RegistryError(
            f"{objects.place.address(file.name)}: checksum mismatch: expected sha256 {file.sha256}, found {found}; "
            "the object was altered in the bucket: choose another version, or restore the object"
        )
    file.path.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(file.path)


class _HashedStream:
    """A file that refuses to end on other bytes than those of its sha256. It cannot seek: every byte is read once."""

    def __init__(self, file: Transfer, stream: Any) -> None:
        self._file = file
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, amount: int = -1) -> bytes:
        data: bytes = self._stream.read(amount)
        self._hash.update(data)
        at_end = amount < 0 or len(data) < amount
        if at_end and self._hash.hexdigest() != self._file.sha256:
            raise RegistryError(
                f"{self._file.path}: changed while it was published; make the bundle again, then publish"
            )
        return data


class _Counter:
    """Adds up the bytes that the threads of a transfer report."""

    def __init__(self, progress: Progress, files: Sequence[Transfer], missing: Sequence[Transfer]) -> None:
        self._progress = progress
        self._total = sum(file.num_bytes for file in files)
        self._done = self._total - sum(file.num_bytes for file in missing)
        self._lock = Lock()
        self.add(0, "")

    def add(self, num_bytes: int, name: str) -> None:
        with self._lock:
            self._done += num_bytes
            self._progress(self._done // _MB, max(1, self._total // _MB), f"MB {name}")

    def subscribe(self, file: Transfer) -> Any:
        from s3transfer.subscribers import BaseSubscriber

        class Subscriber(BaseSubscriber):  # type: ignore[misc]
            def on_progress(subscriber, future: Any, bytes_transferred: int, **_: Any) -> None:  # noqa: N805
                self.add(bytes_transferred, file.path.name)

        return Subscriber()


@contextmanager
def _open_manager(objects: Objects) -> Iterator[Any]:
    """Yield an `s3transfer.manager.TransferManager`; an error in the block ends what is under way."""
    from s3transfer.manager import TransferConfig, TransferManager

    config = TransferConfig(
        multipart_threshold=_PART_BYTES,
        multipart_chunksize=_PART_BYTES,
        max_request_concurrency=_REQUESTS,
        max_in_memory_upload_chunks=_REQUESTS,
    )
    with TransferManager(objects.client, config) as manager:
        yield manager


def _abort_abandoned(objects: Objects, name: str) -> None:
    """Drop the parts that killed publishers left of an object: nobody sees them, and they are paid for."""
    from botocore.exceptions import ClientError

    bucket, key = objects.place.bucket, objects.place.key(name)
    # It is a courtesy: credentials that may write need not be allowed to list and drop uploads.
    with explain(objects.place.address(name)), suppress(ClientError):
        answer = objects.client.list_multipart_uploads(Bucket=bucket, Prefix=key)
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        for upload in answer.get("Uploads", []):
            if upload["Key"] == key and now - upload["Initiated"] > _ABANDONED_AFTER:
                objects.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
