from pathlib import Path

import pytest
from PIL import Image

from oodtune.data.splits import assign_splits
from oodtune.data.validate import check_cells, check_images, list_images
from oodtune.errors import DataError


def make_images(root: Path) -> None:
    for domain in ("ink", "oil"):
        for cls in ("cat", "dog"):
            folder = root / domain / cls
            folder.mkdir(parents=True)
            for name in ("a.png", "b.png"):
                Image.new("RGB", (8, 8)).save(folder / name)


def test_a_whole_set_passes(tmp_path: Path) -> None:
    make_images(tmp_path)
    ids = list_images(tmp_path)
    check_cells(ids)
    check_images(tmp_path, assign_splits(ids, 0.5, seed=0))
    assert len(ids) == 8


def test_a_class_missing_in_one_domain_is_named(tmp_path: Path) -> None:
    make_images(tmp_path)
    ids = [one for one in list_images(tmp_path) if not one.startswith("oil/dog")]
    with pytest.raises(DataError, match="oil/dog has 0"):
        check_cells(ids)


def test_one_domain_is_not_enough() -> None:
    with pytest.raises(DataError, match="found 1 domains"):
        check_cells(["ink/cat/a.png", "ink/dog/a.png"])


def test_all_unreadable_images_are_named_in_one_error(tmp_path: Path) -> None:
    make_images(tmp_path)
    (tmp_path / "ink/cat/a.png").write_bytes(b"")
    (tmp_path / "oil/dog/b.png").write_text("no image")
    rows = assign_splits(list_images(tmp_path), 0.5, seed=0)
    with pytest.raises(DataError, match=r"2 of 8 images.*ink/cat/a\.png.*oil/dog/b\.png") as caught:
        check_images(tmp_path, rows)
    assert str(tmp_path) not in str(caught.value)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    make_images(tmp_path)
    seen: list[tuple[int, int]] = []
    rows = assign_splits(list_images(tmp_path), 0.5, seed=0)
    check_images(tmp_path, rows, lambda done, total, _: seen.append((done, total)))
    assert seen[-1] == (8, 8)
