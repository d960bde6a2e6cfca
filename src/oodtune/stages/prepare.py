"""Images of any source -> `dataset`: checked, split, with the licence of every domain."""

from pathlib import Path

from oodtune.artifact import create_artifact
from oodtune.config import DataConfig, StageParams
from oodtune.data.duplicates import count_duplicates, hash_images
from oodtune.data.index import IndexRow, classes_of, domains_of, write_index
from oodtune.data.notice import render_notice
from oodtune.data.recipes import check_recipe
from oodtune.data.sources import write_images
from oodtune.data.splits import assign_splits
from oodtune.data.validate import check_cells, check_images, list_images
from oodtune.progress import progress_bar

DOWNLOADS_DIR = Path(".oodtune/downloads")
"""Archives are kept here, so that changing a split does not fetch them again."""


class Params(StageParams):
    data: DataConfig


def run(out: Path | str, params: Params, downloads_dir: Path | str = DOWNLOADS_DIR) -> None:
    """Write a `dataset` artifact. Raises DataError if the images are not fit for training."""
    with create_artifact(Path(out), "dataset", params) as writer:
        images_dir = writer.path / "images"
        with progress_bar("Images") as progress:
            origins = write_images(params.data, images_dir, Path(downloads_dir), progress)
        image_ids = list_images(images_dir)
        if params.data.recipe is not None:
            whole = params.data.limit_per_cell is None
            writer.details["recipe"] = {
                "name": params.data.recipe,
                "version": check_recipe(params.data.recipe, image_ids, whole),
            }
        check_cells(image_ids)
        hashes = hash_images(images_dir, image_ids)
        rows = assign_splits(image_ids, params.data.out_fraction, params.data.split_seed, groups=hashes)
        with progress_bar("Check") as progress:
            check_images(images_dir, rows, progress)
        write_index(rows, writer.path / "index.csv")
        (writer.path / "NOTICE.md").write_text(render_notice(origins), encoding="utf-8")
        writer.details.update(
            domains=list(domains_of(rows)),
            classes=list(classes_of(rows)),
            origins=[origin.model_dump(mode="json") for origin in origins],
            counts=_count_images(rows),
            duplicates=count_duplicates(hashes),
        )


def _count_images(rows: list[IndexRow]) -> dict[str, dict[str, int]]:
    """Return domain -> split -> number of images."""
    counts = {domain: {"in": 0, "out": 0} for domain in domains_of(rows)}
    for row in rows:
        counts[row.domain][row.split] += 1
    return counts
