from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodtune.data.sources.rasterise import SIZE, Drawing, draw_all, wrap_icon
from oodtune.errors import DataError
from tests.unit.data.sources.npm_packages import DISC

pytest.importorskip("resvg_py")
SET = {"width": 16, "height": 16}


def drawn(icon: dict, path: Path, defaults: dict | None = None) -> np.ndarray:
    """Draw one icon; return its pixels (SIZE, SIZE, 3)."""
    draw_all([Drawing(wrap_icon(icon, defaults or SET), path)])
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def test_pictures_are_rgb_on_white_with_the_icon_in_the_middle(tmp_path: Path) -> None:
    pixels = drawn({"body": DISC}, tmp_path / "disc.png")
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[SIZE // 2, SIZE // 2].tolist() == [0xCC, 0, 0]


def test_ink_that_is_left_to_the_page_is_dark_grey(tmp_path: Path) -> None:
    pixels = drawn({"body": '<rect width="16" height="16" fill="currentColor"/>'}, tmp_path / "line.png")
    assert np.unique(pixels).tolist() == [0x22]


def test_an_icons_own_box_wins_over_its_sets(tmp_path: Path) -> None:
    body = '<rect x="10" y="20" width="40" height="40" fill="#000"/>'
    own = drawn({"body": body, "left": 10, "top": 20, "width": 40, "height": 40}, tmp_path / "own.png")
    shared = drawn({"body": body}, tmp_path / "shared.png", {"left": 10, "top": 20, "width": 40, "height": 40})
    assert np.unique(own).tolist() == [0]
    assert np.array_equal(own, shared)


def test_an_icon_that_is_not_square_is_centred_and_keeps_its_proportions(tmp_path: Path) -> None:
    pixels = drawn({"body": '<rect width="16" height="8" fill="#000"/>', "height": 8}, tmp_path / "wide.png")
    dark_rows = np.flatnonzero((pixels == 0).all(axis=(1, 2)))
    assert (dark_rows[0], dark_rows[-1]) == (SIZE // 4, 3 * SIZE // 4 - 1)


def test_links_inside_an_icon_resolve(tmp_path: Path) -> None:
    linked = f'<defs><g id="a">{DISC}</g></defs><use xlink:href="#a"/>'
    assert np.array_equal(drawn({"body": linked}, tmp_path / "a.png"), drawn({"body": DISC}, tmp_path / "b.png"))


def test_many_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    svg = wrap_icon({"body": DISC}, SET)
    seen: list[int] = []
    drawings = [Drawing(svg, tmp_path / "many" / f"{number}.png") for number in range(260)]
    draw_all(drawings, lambda done, total, what: seen.append(done))
    draw_all([Drawing(svg, tmp_path / "one.png")])
    assert {drawing.path.read_bytes() for drawing in drawings} == {(tmp_path / "one.png").read_bytes()}
    assert seen == list(range(1, 261))


@pytest.mark.parametrize("body", ["<path d='", '<circle cx="90" cy="90" r="1"/>'], ids=["broken", "empty"])
def test_an_icon_without_a_picture_is_named(body: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="noto/symbols/bad: expected"):
        draw_all([Drawing(wrap_icon({"body": body}, SET), tmp_path / "noto" / "symbols" / "bad.png")])
