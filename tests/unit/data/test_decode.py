import hashlib
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodtune.config import PreprocessConfig
from oodtune.data.decode import CHUNK_BYTES, CHUNK_IMAGES, Source, decode_images, plan_chunks
from oodtune.data.index import IndexRow
from oodtune.errors import DataError
from oodtune.preprocess import decode_image, preprocess

CONFIG = PreprocessConfig(size=16)


class Images:
    """Random images in memory, and which of them were read."""

    def __init__(self, counts: dict[str, int], seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.rows = [
            IndexRow(f"{domain}/cat/{i:04}.png", domain, "cat", "in")
            for domain, count in counts.items()
            for i in range(count)
        ]
        self.data = {row.id: encode(generator.integers(0, 256, (5, 7, 3), np.uint8)) for row in self.rows}
        self.read_ids: list[str] = []

    def read(self, image_id: str) -> bytes:
        self.read_ids.append(image_id)
        return self.data[image_id]

    def decode(self, directory: Path) -> dict[str, str]:
        (directory / "images").mkdir(parents=True, exist_ok=True)
        self.read_ids.clear()
        return decode_images(Source(self.rows, self.read), CONFIG, directory / "images", directory / "journal")


def encode(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_every_row_holds_the_pixels_that_serving_would_see(tmp_path: Path) -> None:
    images = Images({"b": 150, "a": 3})
    images.decode(tmp_path)
    for domain in ("a", "b"):
        rows = [row for row in images.rows if row.domain == domain]
        expected = np.stack([preprocess(decode_image(images.data[row.id]), CONFIG) for row in rows])
        assert np.array_equal(np.load(tmp_path / f"images/{domain}.npy"), expected)
        np.save(tmp_path / "plain.npy", expected)
        assert (tmp_path / f"images/{domain}.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_the_returned_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    hashes = Images({"a": 130, "b": 5}).decode(tmp_path)
    files = sorted((tmp_path / "images").iterdir())
    assert hashes == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_image_is_read_once(tmp_path: Path) -> None:
    images = Images({"a": 130, "b": 5})
    images.decode(tmp_path)
    assert sorted(images.read_ids) == [row.id for row in images.rows]


@pytest.mark.parametrize("size", [16, 256, 1024])
def test_chunks_cover_every_row_once_and_are_small(size: int) -> None:
    rows = Images({"a": 130, "b": 5}).rows
    chunks = plan_chunks(rows, size)
    assert [image_id for chunk in chunks for image_id in chunk.ids] == [row.id for row in rows]
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert len(chunk.ids) <= CHUNK_IMAGES
        assert len(chunk.ids) == 1 or len(chunk.ids) * size * size * 3 <= CHUNK_BYTES
        assert chunk.ids[0] == [row.id for row in rows if row.domain == chunk.domain][chunk.first]


def test_a_second_call_reads_no_image_and_gives_the_same_hashes(tmp_path: Path) -> None:
    images = Images({"a": 130, "b": 5})
    first = images.decode(tmp_path)
    assert images.decode(tmp_path) == first
    assert images.read_ids == []


def test_a_chunk_that_is_not_what_was_noted_is_decoded_again(tmp_path: Path) -> None:
    images = Images({"a": 3 * CHUNK_IMAGES})
    first = images.decode(tmp_path)
    altered = np.load(tmp_path / "images/a.npy", mmap_mode="r+")
    altered[CHUNK_IMAGES] += 1
    altered.flush()
    assert images.decode(tmp_path) == first
    assert sorted(images.read_ids) == [row.id for row in images.rows[CHUNK_IMAGES : 2 * CHUNK_IMAGES]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: text.rindex(b"\n") - 3],  # the process ended within the last line
        lambda text: text[: text.rindex(b"\n", 0, -1) + 1] + bytes(70),  # the machine ended
    ],
)
def test_a_journal_that_was_cut_short_costs_one_chunk(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    images = Images({"a": 3 * CHUNK_IMAGES})
    first = images.decode(tmp_path)
    journal = tmp_path / "journal"
    journal.write_bytes(damage(journal.read_bytes()))
    assert images.decode(tmp_path) == first
    assert len(images.read_ids) == CHUNK_IMAGES
    assert images.decode(tmp_path) == first
    assert images.read_ids == []


def test_a_journal_of_other_chunks_counts_for_nothing(tmp_path: Path) -> None:
    images = Images({"a": 100})
    first = images.decode(tmp_path)
    journal = tmp_path / "journal"
    journal.write_text(journal.read_text().replace(str(CHUNK_IMAGES), "1", 1))
    assert images.decode(tmp_path) == first
    assert len(images.read_ids) == 100


def test_a_broken_image_is_named_and_what_was_decoded_stays(tmp_path: Path) -> None:
    images = Images({"a": 5 * CHUNK_IMAGES})
    broken = images.rows[3 * CHUNK_IMAGES + 1].id
    whole, images.data[broken] = images.data[broken], b"not an image"
    with pytest.raises(DataError, match=f"^{broken}: expected an image"):
        images.decode(tmp_path)
    images.data[broken] = whole
    for row in images.rows[: 3 * CHUNK_IMAGES]:
        del images.data[row.id]  # reading one of these again would fail
    resumed = images.decode(tmp_path)
    assert resumed == Images({"a": 5 * CHUNK_IMAGES}).decode(tmp_path / "undisturbed")


def test_progress_counts_the_images_of_all_domains(tmp_path: Path) -> None:
    images = Images({"a": 130, "b": 5})
    seen: list[tuple[int, int]] = []
    (tmp_path / "images").mkdir()
    source = Source(images.rows, images.read)
    decode_images(
        source, CONFIG, tmp_path / "images", tmp_path / "journal", lambda done, total, _: seen.append((done, total))
    )
    assert seen[-1] == (135, 135)
    assert seen == sorted(seen)


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    Images({"a": 130}).decode(tmp_path)
    assert threading.active_count() == before
