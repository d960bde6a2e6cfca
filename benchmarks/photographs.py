"""Images that cost what photographs cost to decode, drawn from a seed."""

from pathlib import Path

import numpy as np
from PIL import Image

from oodtune.parallel import map_in_processes

DOMAINS = ("north", "south", "east", "west")
CLASSES = ("ash", "birch", "cedar", "elm", "fir")


def draw_photographs(root: Path, count: int, width: int, height: int) -> None:
    """Write `count` JPEGs of quality 90 to `root/<domain>/<class>/<number>.jpg`, spread evenly."""
    cells = [(domain, name) for domain in DOMAINS for name in CLASSES]
    for domain, name in cells:
        (root / domain / name).mkdir(parents=True, exist_ok=True)
    jobs = []
    for number in range(count):
        domain, name = cells[number % len(cells)]
        jobs.append((root / domain / name / f"{number:06}.jpg", number, width, height))
    with map_in_processes(_draw, jobs) as drawn:
        for _ in drawn:
            pass


def _draw(job: tuple[Path, int, int, int]) -> None:
    path, seed, width, height = job
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = random.normal(0.0, 6.0, (height, width, 1))
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
