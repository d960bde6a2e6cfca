"""A generated set for tests: class = shape, domain = background, and a colour that misleads.

In every domain but the last, most images of a class have the class's own colour; in the last one
they have the next class's. A classifier that learned colour instead of shape fails there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from oodtune.config import DataConfig
from oodtune.data.listing import Listing, list_directory
from oodtune.data.origin import Origin
from oodtune.data.sources.cell import limit_cell
from oodtune.progress import Progress, silent

Floats = npt.NDArray[np.float64]

DOMAINS: Final = ("plain", "noise", "stripes", "inverted")
IMAGES_PER_CELL: Final = 24
SIZE: Final = 64
"""Height and width in pixels."""
COLOUR_AGREEMENT: Final = 0.8
"""Share of images with the misleading colour; below 1, so that shape is always the better clue."""
COLOURS: Final = np.array([[214, 69, 65], [46, 134, 193], [39, 174, 96], [243, 156, 18]], dtype=np.float64)
"""(K, 3): the colour of each class, in the order of SHAPES."""
_SEED = 0


def _circle(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    return np.hypot(x, y) < 1.0


def _cross(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    near, far = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    return (near < 0.3) & (far < 1.0)


def _square(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    return np.maximum(abs(x), abs(y)) < 0.85


def _triangle(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    return (y < 0.6) & (y > 1.9 * abs(x) - 1.0)


SHAPES: Final[dict[str, Callable[[Floats, Floats], npt.NDArray[np.bool_]]]] = {
    "circle": _circle,
    "cross": _cross,
    "square": _square,
    "triangle": _triangle,
}


def write_synthetic(config: DataConfig, work_dir: Path, _downloads_dir: Path, progress: Progress = silent) -> Listing:
    """Write `work_dir/<domain>/<shape>/<number>.png` (RGB, 64x64) and list them."""
    names = limit_cell((f"{number:03d}.png" for number in range(IMAGES_PER_CELL)), config.limit_per_cell)
    cells = [(domain, shape) for domain in DOMAINS for shape in SHAPES]
    for done, (domain, shape) in enumerate(cells, start=1):
        cell_dir = work_dir / domain / shape
        cell_dir.mkdir(parents=True, exist_ok=True)
        for name in names:
            pixels = draw_shape(domain, shape, number=int(name.removesuffix(".png")))
            Image.fromarray(pixels).save(cell_dir / name)
        progress(done, len(cells), f"drawn {domain}")
    about = {"source": "synthetic", "licence": "CC0-1.0", "author": "oodtune"}
    origins = [Origin(domain=domain, title=f"Shapes, {domain}", **about) for domain in DOMAINS]
    return list_directory(work_dir, origins)


def draw_shape(domain: str, shape: str, number: int) -> npt.NDArray[np.uint8]:
    """Return the pixels (SIZE, SIZE, 3) of one image; the same arguments always give the same pixels."""
    place, label = DOMAINS.index(domain), list(SHAPES).index(shape)
    rng = np.random.default_rng((_SEED, place, label, number))
    mask = _place_shape(shape, rng)
    colour = COLOURS[choose_colour(domain, label, rng)] + rng.normal(0.0, 12.0, size=3)
    pixels = np.where(mask[..., None], colour, _draw_background(domain, rng))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def choose_colour(domain: str, label: int, rng: np.random.Generator) -> int:
    """Return the row of COLOURS for an image of class `label`: the misleading one, or any."""
    if rng.random() >= COLOUR_AGREEMENT:
        return int(rng.integers(len(COLOURS)))
    return (label + 1) % len(COLOURS) if domain == DOMAINS[-1] else label


def _place_shape(shape: str, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return where the shape lies, (SIZE, SIZE): somewhere, somewhat large, somewhat turned."""
    radius = SIZE * rng.uniform(0.22, 0.34)
    centre_x, centre_y = rng.uniform(0.4, 0.6, size=2) * SIZE
    angle = rng.uniform(-0.3, 0.3)  # radians; more would turn a square into a diamond
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    x, y = (x - centre_x) / radius, (y - centre_y) / radius
    return SHAPES[shape](x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))


def _draw_background(domain: str, rng: np.random.Generator) -> Floats:
    """Return the background (SIZE, SIZE, 3) that makes the domain: bright, noisy, striped or dark."""
    if domain == "noise":
        return rng.normal(150.0, 45.0, size=(SIZE, SIZE, 3))
    if domain == "stripes":
        y, x = np.mgrid[0:SIZE, 0:SIZE]
        bright = ((x + y + rng.integers(12)) // 6) % 2
        return np.repeat(np.where(bright, 225.0, 120.0)[..., None], 3, axis=2)
    level = rng.uniform(10.0, 40.0) if domain == "inverted" else rng.uniform(225.0, 250.0)
    return np.full((SIZE, SIZE, 3), level)
