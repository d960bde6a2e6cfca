"""Find everything that is wrong with a folder of images in one pass, before training meets it."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from oodtune.data.index import IndexRow
from oodtune.errors import DataError
from oodtune.preprocess import decode_image
from oodtune.progress import Progress, silent

MIN_CELL_SIZE = 2
"""One image for the in-split and one for the out-split."""
_SHOWN = 5


def list_images(images_dir: Path) -> list[str]:
    """Return the ids `<domain>/<class>/<file>` of all images under `images_dir`, sorted."""
    return sorted(path.relative_to(images_dir).as_posix() for path in images_dir.glob("*/*/*") if path.is_file())


def check_cells(image_ids: Sequence[str]) -> None:
    """Raise DataError unless there are two domains or more, with the same classes and no tiny cell."""
    counts = Counter(tuple(image_id.split("/")[:2]) for image_id in image_ids)
    domains = sorted({domain for domain, _ in counts})
    classes = sorted({class_name for _, class_name in counts})
    if len(domains) < 2 or len(classes) < 2:
        raise DataError(
            f"expected at least 2 domains with at least 2 classes, found {len(domains)} domains {domains} "
            f"and {len(classes)} classes; lay images out as <domain>/<class>/<image>"
        )
    small = [
        f"{domain}/{class_name} has {counts[domain, class_name]}"
        for domain in domains
        for class_name in classes
        if counts[domain, class_name] < MIN_CELL_SIZE
    ]
    if small:
        raise DataError(
            f"expected every class in every domain with at least {MIN_CELL_SIZE} images, but "
            f"{_summarise(small)}; add images, or remove the class from all domains"
        )


def check_images(images_dir: Path, rows: Sequence[IndexRow], progress: Progress = silent) -> None:
    """Decode every image. Raises one DataError that names the unreadable ones."""
    problems = []
    with ThreadPoolExecutor() as pool:
        paths = [images_dir / row.id for row in rows]
        for done, problem in enumerate(pool.map(_problem_with, paths), start=1):
            progress(done, len(rows), "checked")
            if problem:
                problems.append(problem.replace(f"{images_dir}/", ""))
    if problems:
        raise DataError(f"{len(problems)} of {len(rows)} images cannot be used: {_summarise(problems)}")


def _problem_with(path: Path) -> str | None:
    try:
        decode_image(path)
    except DataError as error:
        return str(error)
    return None


def _summarise(problems: Sequence[str]) -> str:
    rest = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
