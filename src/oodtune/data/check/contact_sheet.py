"""A few thumbnails of every cell (one class of one domain), drawn as one strip for the page."""

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from oodtune.errors import DataError
from oodtune.parallel import map_in_threads
from oodtune.preprocess import decode_with_facts
from oodtune.progress import Progress, silent

Cell = tuple[str, str]
"""(domain, class)"""

MAX_THUMBNAILS: Final = 2000
"""On the whole page: a few megabytes, which a phone can still open."""
MAX_PER_CELL: Final = 8
COLUMNS: Final = 4
"""Thumbnails side by side; more than that go on a second line."""
THUMBNAIL: Final = 64
"""Height and width in pixels."""
GAP: Final = 2
"""Pixels between two thumbnails: white drawings would melt into one without it."""
GROUND: Final = (176, 176, 176)
"""Neither the white of a drawing nor the black of a photo at night."""


def choose_examples(image_ids: Iterable[str]) -> dict[Cell, tuple[str, ...]]:
    """Return which ids `<domain>/<class>/<file>` to show of each cell, spread out over the sorted ones.

    All cells show up to the same number, chosen so that there are at most MAX_THUMBNAILS; with more
    cells than that, only the first are there, class by class so that the domains of a class stay together.
    """
    cells = defaultdict(list)
    for image_id in sorted(image_ids):
        domain, class_name, _ = image_id.split("/", 2)
        cells[class_name, domain].append(image_id)
    per_cell = max(1, min(MAX_PER_CELL, MAX_THUMBNAILS // max(1, len(cells))))
    shown = sorted(cells)[:MAX_THUMBNAILS]
    return {(domain, class_name): _spread_out(cells[class_name, domain], per_cell) for class_name, domain in shown}


def draw_sheets(images: Mapping[Cell, Sequence[Path]], progress: Progress = silent) -> dict[Cell, bytes]:
    """Return one WebP a cell: its images as thumbnails, COLUMNS to a line; equal images give equal bytes.

    Files that cannot be decoded are skipped, and so are cells that have no other.
    """
    sheets = {}
    drawn = map_in_threads(_draw_sheet, images.values())  # Pillow decodes and resizes outside the GIL
    for done, (cell, sheet) in enumerate(zip(images, drawn, strict=True), start=1):
        progress(done, len(images), f"contact sheet of {cell[0]}")
        if sheet is not None:
            sheets[cell] = sheet
    return sheets


def _spread_out(image_ids: Sequence[str], wanted: int) -> tuple[str, ...]:
    count = min(wanted, len(image_ids))
    return tuple(image_ids[place * len(image_ids) // count] for place in range(count))


def _draw_sheet(paths: Sequence[Path]) -> bytes | None:
    thumbnails = [thumbnail for thumbnail in map(_draw_thumbnail, paths) if thumbnail is not None]
    if not thumbnails:
        return None
    columns = min(COLUMNS, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    pitch = THUMBNAIL + GAP
    sheet = Image.new("RGB", (columns * pitch - GAP, rows * pitch - GAP), GROUND)
    for place, thumbnail in enumerate(thumbnails):
        row, column = divmod(place, columns)
        left = column * pitch + (THUMBNAIL - thumbnail.width) // 2
        top = row * pitch + (THUMBNAIL - thumbnail.height) // 2
        sheet.paste(thumbnail, (left, top))
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=80)
    return stream.getvalue()


def _draw_thumbnail(path: Path) -> Image.Image | None:
    """Return the image, scaled to fit THUMBNAIL x THUMBNAIL; None if it cannot be decoded."""
    try:
        image = decode_with_facts(path, at_least=2 * THUMBNAIL).image
    except DataError:
        return None
    scale = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
