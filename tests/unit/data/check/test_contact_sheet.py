import io
from pathlib import Path

import pytest
from PIL import Image

from oodtune.data.check.contact_sheet import GROUND, MAX_THUMBNAILS, choose_examples, draw_sheets

RED = (200, 30, 30)
CELL = ("photo", "dog")


def save(path: Path, size: tuple[int, int], colour: object = RED, mode: str = "RGB") -> Path:
    Image.new(mode, size, colour).save(path)
    return path


def draw(*paths: Path) -> Image.Image:
    return Image.open(io.BytesIO(draw_sheets({CELL: paths})[CELL])).convert("RGB")


def is_close(pixel: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(one - other) < 16 for one, other in zip(pixel, colour, strict=True))


def test_eight_thumbnails_stand_in_two_lines_of_four(tmp_path: Path):
    paths = [save(tmp_path / f"{number}.png", (64, 64)) for number in range(8)]
    assert draw(*paths).size == (4 * 64 + 3 * 2, 2 * 64 + 2)


def test_a_wide_image_keeps_its_aspect_on_the_neutral_ground(tmp_path: Path):
    sheet = draw(save(tmp_path / "wide.png", (400, 100)))
    assert sheet.size == (64, 64)
    assert is_close(sheet.getpixel((32, 32)), RED)
    assert is_close(sheet.getpixel((32, 8)), GROUND) and is_close(sheet.getpixel((32, 56)), GROUND)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (1, 1)])
def test_the_thinnest_image_has_a_thumbnail(tmp_path: Path, size: tuple[int, int]):
    assert draw(save(tmp_path / "thin.png", size)).size == (64, 64)


def test_transparency_is_white(tmp_path: Path):
    sheet = draw(save(tmp_path / "clear.png", (64, 64), (0, 0, 0, 0), "RGBA"))
    assert is_close(sheet.getpixel((32, 32)), (255, 255, 255))


def test_what_cannot_be_decoded_is_not_on_the_sheet(tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good = save(tmp_path / "good.png", (64, 64))
    sheets = draw_sheets({CELL: [broken, good, tmp_path / "missing.png"], ("photo", "cat"): [broken]})
    assert list(sheets) == [CELL]
    assert Image.open(io.BytesIO(sheets[CELL])).size == (64, 64)


def test_equal_images_give_equal_bytes(tmp_path: Path):
    cells = {("photo", f"class_{k}"): [save(tmp_path / f"{k}.png", (90, 60), (20 * k, 9, 9))] for k in range(8)}
    first, second = draw_sheets(cells), draw_sheets(dict(reversed(cells.items())))
    assert first == second
    assert len(set(first.values())) == 8


def test_every_sheet_is_reported(tmp_path: Path):
    path = save(tmp_path / "one.png", (64, 64))
    seen: list[tuple[int, int, str]] = []
    draw_sheets({("a", "x"): [path], ("b", "x"): [path]}, lambda *report: seen.append(report))
    assert [report[:2] for report in seen] == [(1, 2), (2, 2)]


def test_examples_are_spread_over_the_sorted_names_whatever_their_order():
    ids = [f"photo/dog/{number:02d}.png" for number in range(16)]
    chosen = choose_examples(reversed(ids))
    assert chosen == {CELL: tuple(ids[::2])}


def test_a_small_cell_shows_all_it_has():
    ids = ("photo/dog/a.png", "photo/dog/b.png")
    assert choose_examples(ids) == {CELL: ids}


@pytest.mark.parametrize("num_classes", [1, 60, 125, 400])
def test_the_page_never_holds_more_thumbnails_than_a_phone_can_open(num_classes: int):
    ids = (f"domain_{d}/class_{k}/{n}" for d in range(6) for k in range(num_classes) for n in range(9))
    chosen = choose_examples(ids)
    assert 0 < sum(map(len, chosen.values())) <= MAX_THUMBNAILS
    assert len({len(examples) for examples in chosen.values()}) == 1


def test_with_too_many_cells_the_first_classes_are_whole():
    chosen = choose_examples(f"domain_{d}/class_{k:03d}/0" for d in range(6) for k in range(400))
    assert len(chosen) == MAX_THUMBNAILS
    complete = [k for k in range(400) if all((f"domain_{d}", f"class_{k:03d}") in chosen for d in range(6))]
    assert complete == list(range(MAX_THUMBNAILS // 6))
