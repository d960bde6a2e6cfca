"""Images decoded and resized once, in chunks that an interruption does not lose.

Each chunk is written at its place in the domain's array, then noted in a journal with a checksum of its
bytes. The next run reads the noted chunks, keeps those that are right and decodes the others.
"""

import hashlib
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from oodtune.config import PreprocessConfig
from oodtune.data.array_file import ArrayFile
from oodtune.data.index import IndexRow, domains_of
from oodtune.data.journal import Journal
from oodtune.errors import DataError
from oodtune.parallel import map_in_threads
from oodtune.preprocess import decode_own_image, preprocess
from oodtune.progress import Progress, silent

CHUNK_BYTES = 1_000_000
CHUNK_IMAGES = 64
"""A chunk is as small as the smaller of both, but one image: small sets are shared among the threads, too."""


@dataclass(frozen=True)
class Source:
    """Encoded images."""

    rows: Sequence[IndexRow]
    read: Callable[[str], bytes]
    """Image id -> the bytes of its file."""


@dataclass(frozen=True)
class Chunk:
    """Neighbouring rows of one domain's array."""

    number: int
    """Over all domains."""
    domain: str
    first: int
    """Row of its domain's array."""
    ids: tuple[str, ...]


def plan_chunks(rows: Sequence[IndexRow], size: int) -> list[Chunk]:
    """Cut the rows of every domain, in their order, into chunks of images `size` pixels high and wide."""
    step = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (size * size * 3)))
    chunks: list[Chunk] = []
    for domain in domains_of(rows):
        ids = [row.id for row in rows if row.domain == domain]
        for first in range(0, len(ids), step):
            chunks.append(Chunk(len(chunks), domain, first, tuple(ids[first : first + step])))
    return chunks


def decode_images(
    source: Source, config: PreprocessConfig, images_dir: Path, journal_path: Path, progress: Progress = silent
) -> dict[str, str]:
    """Write `<domain>.npy`, uint8 (N, S, S, 3), of every domain, rows in their order in `source`.

    Returns the name of every file -> its sha256. What an interrupted call left in `images_dir` and the journal
    is used if it is whole. Beyond the interpreter and `source`, memory holds for each thread (one per CPU) at
    most three chunks (1 MB each, or one image), one encoded image, and what decoding that takes: 12 bytes a
    pixel, 20 if it has transparency, 45 if it has 16 bits a channel or more; 0.3, 0.5, 1.1 GB if it has the 25
    million it may have.
    Raises DataError naming the first image that cannot be decoded; what was decoded stays.
    """
    counts = Counter(row.domain for row in source.rows)
    with ExitStack() as stack:
        files = {
            domain: stack.enter_context(
                ArrayFile(images_dir / f"{domain}.npy", (counts[domain], config.size, config.size, 3))
            )
            for domain in domains_of(source.rows)
        }
        _check_free_space(images_dir, sum(file.missing_bytes() for file in files.values()))
        pieces = f"{CHUNK_BYTES} {CHUNK_IMAGES} pillow {PIL.__version__}"
        journal = stack.enter_context(Journal(journal_path, pieces))
        return Work(source, config, files, journal).finish(progress)


@dataclass(frozen=True)
class Work:
    """What the threads share."""

    source: Source
    config: PreprocessConfig
    files: dict[str, ArrayFile]
    journal: Journal

    def finish(self, progress: Progress) -> dict[str, str]:
        """Decode what is not written yet; return the name of every file -> its sha256."""
        digests = {domain: hashlib.sha256(file.header) for domain, file in self.files.items()}
        done, total = 0, len(self.source.rows)
        chunks = plan_chunks(self.source.rows, self.config.size)
        for chunk, pixels in zip(chunks, map_in_threads(self._finish, chunks), strict=True):
            for block in self._read(chunk) if pixels is None else [pixels.data]:
                digests[chunk.domain].update(block)
            done += len(chunk.ids)
            progress(done, total, chunk.domain)
        return {file.path.name: digests[domain].hexdigest() for domain, file in self.files.items()}

    def _read(self, chunk: Chunk) -> Iterator[bytes]:
        return self.files[chunk.domain].read_blocks(chunk.first, len(chunk.ids))

    def _finish(self, chunk: Chunk) -> npt.NDArray[np.uint8] | None:
        """Decode and write a chunk and return its pixels; None if it is written already."""
        if self._is_written(chunk):
            return None
        pixels = self._decode(chunk)
        self.files[chunk.domain].write(chunk.first, pixels)
        self.journal.add(chunk.number, f"{zlib.crc32(pixels.data):08x}")
        return pixels

    def _is_written(self, chunk: Chunk) -> bool:
        noted = self.journal.noted.get(chunk.number)
        if noted is None:
            return False
        checksum = 0
        for block in self._read(chunk):
            checksum = zlib.crc32(block, checksum)
        return f"{checksum:08x}" == noted

    def _decode(self, chunk: Chunk) -> npt.NDArray[np.uint8]:
        """Return the pixels (n, S, S, 3) of a chunk."""
        pixels = np.empty((len(chunk.ids), self.config.size, self.config.size, 3), np.uint8)
        for place, image_id in enumerate(chunk.ids):
            pixels[place] = preprocess(decode_own_image(self.source.read(image_id), image_id), self.config)
        return pixels


def _check_free_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise DataError(
            f"{directory.resolve()}: expected {needed / 1e9:.1f} GB of free space for the decoded images, found "
            f"{free / 1e9:.1f} GB; free some, pass another --out, or lower preprocess.size"
        )
