from pathlib import Path

import numpy as np

from oodtune.pixels import PixelRows


def numbered(path: Path, num: int = 10) -> np.ndarray:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(num, 2, 2, 3))
    array[:] = np.arange(num, dtype=np.uint8).reshape(-1, 1, 1, 1)
    array.flush()
    return np.load(path, mmap_mode="r")


def test_slices_and_places_are_those_of_the_chosen_rows(tmp_path: Path) -> None:
    rows = np.array([8, 1, 5, 2])
    pixels, copied = PixelRows(numbered(tmp_path / "a.npy"), rows), numbered(tmp_path / "b.npy")[rows]
    assert len(pixels) == 4
    assert pixels.shape == (4, 2, 2, 3)
    assert np.array_equal(pixels[1:3], copied[1:3])
    assert np.array_equal(pixels[:], copied)
    assert np.array_equal(pixels[np.array([3, 0, 3])], copied[[3, 0, 3]])


def test_what_is_read_is_a_plain_array_that_may_be_written(tmp_path: Path) -> None:
    pixels = PixelRows(numbered(tmp_path / "a.npy"), np.arange(10))
    part = pixels[2:4]
    part += 100
    assert type(part) is np.ndarray
    assert np.array_equal(pixels[2:4] + 100, part)


def test_no_rows_are_an_empty_array(tmp_path: Path) -> None:
    pixels = PixelRows(numbered(tmp_path / "a.npy"), np.asarray([], np.int64))
    assert pixels[:].shape == pixels.shape == (0, 2, 2, 3)
