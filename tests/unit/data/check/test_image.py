import hashlib
from pathlib import Path

import pytest
from PIL import Image

from oodtune.data.check import image as module
from oodtune.data.check.image import inspect_image, inspect_images
from oodtune.data.listing import SourceImage
from tests.unit.data.check.drawn import draw


def listed(path: Path) -> SourceImage:
    return SourceImage(f"ink/cat/{path.name}", path)


def test_facts_are_of_the_image_as_it_will_be_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(0).save(tmp_path / "a.jpg", exif=exif)
    facts = inspect_image(listed(tmp_path / "a.jpg"))
    assert (facts.width, facts.height) == (48, 64)  # upright
    assert facts.rotated
    assert facts.format == "JPEG"
    assert facts.sha256 == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()


def test_a_missing_file_and_a_huge_one_are_problems_not_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "expected a readable file" in inspect_image(listed(tmp_path / "none.png")).problem
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    (tmp_path / "huge.png").write_bytes(bytes(1001))
    assert "cat/huge.png: expected a file of at most" in inspect_image(listed(tmp_path / "huge.png")).problem


def test_odd_metadata_and_bombs_warn_of_nothing(tmp_path: Path) -> None:
    data = bytearray(_save(tmp_path / "a.jpg", exif=bytes.fromhex("457869660000") + b"II*\0\xff\xff\xff\0"))
    (tmp_path / "b.jpg").write_bytes(data)
    Image.new("1", (10_000, 10_000)).save(tmp_path / "c.png")  # warnings are errors in tests
    assert inspect_image(listed(tmp_path / "b.jpg")).format in ("JPEG", "")
    assert "found 10000x10000" in inspect_image(listed(tmp_path / "c.png")).problem


def _save(path: Path, **options: object) -> bytes:
    draw(0).save(path, **options)
    return path.read_bytes()


def test_many_images_are_inspected_in_processes_with_the_same_result(tmp_path: Path) -> None:
    for number in range(12):
        draw(number).save(tmp_path / f"{number:02}.png")
    images = [listed(path) for path in sorted(tmp_path.iterdir())]
    seen: list[tuple[int, int]] = []
    many = [SourceImage(f"{copy}/{image.id}", image.path) for copy in range(50) for image in images]
    found = inspect_images(many, lambda done, total, _: seen.append((done, total)))
    assert seen[-1] == (600, 600)
    assert list(found) == [image.id for image in many]
    assert found["49/ink/cat/03.png"] == inspect_image(images[3])
