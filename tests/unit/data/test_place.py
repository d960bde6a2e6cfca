import hashlib
from pathlib import Path

import pytest

from oodtune.data.listing import Listing, SourceImage
from oodtune.data.place import place_images
from oodtune.errors import DataError


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make(tmp_path: Path, *names: str) -> Listing:
    """Write files whose content is their own name."""
    images = []
    for name in names:
        path = tmp_path / name.replace("/", "-")
        path.write_text(name)
        images.append(SourceImage(name, path))
    return Listing(tuple(images), ())


def test_what_is_kept_is_copied_under_its_id_and_nothing_else(tmp_path: Path) -> None:
    listing = make(tmp_path, "ink/cat/1", "ink/cat/2")
    place_images(listing, {"ink/cat/2": sha256("ink/cat/2")}, tmp_path / "out")
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [(path.relative_to(tmp_path).as_posix(), path.read_text()) for path in found] == [
        ("out/ink/cat/2", "ink/cat/2")
    ]
    assert listing.images[0].path.exists()


def test_what_was_drawn_in_place_stays_or_goes(tmp_path: Path) -> None:
    (tmp_path / "ink/cat").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / f"ink/cat/{number}").write_text(str(number))
    images = tuple(SourceImage(f"ink/cat/{number}", tmp_path / f"ink/cat/{number}") for number in (1, 2))
    place_images(Listing(images, ()), {"ink/cat/2": sha256("2")}, tmp_path)
    assert [path.name for path in (tmp_path / "ink/cat").iterdir()] == ["2"]


def test_a_file_that_changed_since_the_check_is_refused(tmp_path: Path) -> None:
    listing = make(tmp_path, "ink/cat/1")
    with pytest.raises(DataError, match="changed meanwhile"):
        place_images(listing, {"ink/cat/1": sha256("something else")}, tmp_path / "out")
