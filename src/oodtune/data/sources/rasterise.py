"""From SVG icons to PNG files: wrap the icon's body, render it on white, on every core."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oodtune.errors import DataError, UserError
from oodtune.parallel import map_in_processes
from oodtune.preprocess import decode_image
from oodtune.progress import Progress, silent

SIZE = 128
"""Height and width of the pictures in pixels."""
INK = "#222"
"""What `currentColor` means in icons that leave their colour to the page."""


class Drawing(NamedTuple):
    """One picture to be made."""

    svg: str
    path: Path


def wrap_icon(icon: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return the whole SVG of an iconify icon; its own left, top, width and height win over the set's."""
    # Without width and height, resvg gives an icon that is not square a picture that is not square either.
    box = {"left": 0, "top": 0, "width": 16, "height": 16}  # in the order of viewBox; the format's defaults
    view_box = " ".join(str(icon.get(key, defaults.get(key, value))) for key, value in box.items())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{view_box}" color="{INK}">{icon["body"]}</svg>'
    )


def draw_all(drawings: Sequence[Drawing], progress: Progress = silent) -> None:
    """Write every drawing as an RGB PNG, SIZE x SIZE, on white.

    Raises UserError without the package resvg-py, DataError naming the first icon that cannot be drawn.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError:
        raise UserError(
            "drawing SVG images: expected the package resvg-py, found none; `pip install 'oodtune[demo]'`"
        ) from None
    for directory in sorted({drawing.path.parent for drawing in drawings}):
        directory.mkdir(parents=True, exist_ok=True)
    with map_in_processes(draw, drawings) as results:  # resvg holds the interpreter's lock
        for done, path in enumerate(results, start=1):
            progress(done, len(drawings), f"drawn {path.parent.parent.name}")


def draw(drawing: Drawing) -> Path:
    """Write one drawing and return its path. Raises DataError if it is broken or empty."""
    import resvg_py

    try:
        png = resvg_py.svg_to_bytes(svg_string=drawing.svg, width=SIZE, height=SIZE, skip_system_fonts=True)
    except ValueError as error:
        raise DataError(f"{_icon(drawing)}: expected a readable SVG; {error}; leave the icon out") from None
    image = decode_image(png)
    assert image.size == (SIZE, SIZE)
    if all(extremes == (255, 255) for extremes in image.getextrema()):
        raise DataError(f"{_icon(drawing)}: expected a picture, found an empty one; leave the icon out")
    image.save(drawing.path, "PNG")
    return drawing.path


def _icon(drawing: Drawing) -> str:
    return "/".join(drawing.path.parts[-3:]).removesuffix(".png")
