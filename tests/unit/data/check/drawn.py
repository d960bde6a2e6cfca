"""Small pictures that differ, for tests of the checks."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from oodtune.config import DataConfig
from oodtune.data.check.examine import Verdict, examine
from oodtune.data.check.report import Finding
from oodtune.data.listing import Listing, SourceImage, list_directory
from oodtune.data.origin import Origin

DOMAINS, CLASSES, COUNT = ("ink", "oil"), ("cat", "dog"), 6


def draw(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture of a few rectangles: another seed, another picture."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = random.uniform(0, 0.7, 2)
        box = (left * size[0], top * size[1], (left + 0.3) * size[0], (top + 0.3) * size[1])
        pen.rectangle(box, fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


def draw_set(root: Path) -> Path:
    """Write COUNT different pictures of each class of each domain."""
    seed = 0
    for domain in DOMAINS:
        for name in CLASSES:
            (root / domain / name).mkdir(parents=True)
            for number in range(COUNT):
                draw(seed).save(root / domain / name / f"{number}.png")
                seed += 1
    return root


def look(root: Path, groups: dict[str, str] | None = None, **settings: object) -> Verdict:
    """Examine the images below `root`; `settings` are of `data`, `checks` given as a dict."""
    config = DataConfig.model_validate({"source": "folder", "root": root, **settings})
    listed = list_directory(root, [Origin(domain=domain, title=domain, source="folder") for domain in DOMAINS])
    images = [SourceImage(image.id, image.path, (groups or {}).get(image.id, "")) for image in listed.images]
    return examine(Listing(tuple(images), listed.origins), config)


def finding(verdict: Verdict, kind: str) -> Finding:
    (found,) = [one for one in verdict.report.findings if one.kind == kind]
    return found


def kept(verdict: Verdict) -> set[str]:
    return {row.id for row in verdict.rows}


def sides(verdict: Verdict, *image_ids: str) -> set[str]:
    return {row.split for row in verdict.rows if row.id in image_ids}
