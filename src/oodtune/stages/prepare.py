"""Images of any source -> `dataset`: checked, split, with the licence of every domain."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from oodtune.artifact import create_artifact
from oodtune.config import DataConfig, StageParams
from oodtune.data.index import SPLITS, IndexRow, write_index
from oodtune.data.notice import render_notice
from oodtune.data.place import place_images
from oodtune.progress import progress_bar
from oodtune.stages.check import JSON, PAGE, check_images
from oodtune.stages.shared import make_shared

DOWNLOADS_DIR = Path(".oodtune/downloads")
"""Archives are kept here, so that changing a split does not fetch them again."""


class Params(StageParams):
    data: DataConfig


def run(
    out: Path | str,
    params: Params,
    downloads_dir: Path | str = DOWNLOADS_DIR,
    data_rev: str = "",
    shared_dir: Path | str = "",
) -> None:
    """Write a `dataset` artifact. Raises DataError if the images are not fit for training.

    What the check found is in the dataset; of images that are refused, it is left in `<out>.check`. `data_rev`, a
    commit, is used in place of `data.dvc.rev`. With a `shared_dir`, images and downloads are kept there, and `out`
    refers to them; what is there already is taken unread if the settings name images that never change.
    """
    at_rev = Params(data=params.data.at_revision(data_rev)) if data_rev else params
    downloads = Path(shared_dir) / "downloads" if str(shared_dir) else Path(downloads_dir)
    make_shared(
        Path(out),
        "dataset",
        {"params": at_rev.to_json()},
        lambda place: _write(place, at_rev, downloads),
        shared_dir,
        again=not at_rev.data.is_fixed,
    )


def _write(out: Path, params: Params, downloads_dir: Path) -> None:
    report_dir = out.with_name(f"{out.name}.check")
    recorded = Params(data=params.data.without_places())
    with create_artifact(out, "dataset", recorded) as writer:
        images_dir = writer.path / "images"
        images_dir.mkdir()
        checked = check_images(params.data, images_dir, downloads_dir, report_dir)
        report, rows, hashes = checked.verdict.report, checked.verdict.rows, checked.verdict.hashes
        with progress_bar("Copy") as progress:
            place_images(checked.listing, hashes, images_dir, progress)
        writer.hashes.update({f"images/{image_id}": digest for image_id, digest in hashes.items()})
        for name in (JSON, PAGE):
            shutil.move(report_dir / name, writer.path / name)
        with suppress(OSError):  # it holds something of the user's
            report_dir.rmdir()
        write_index(rows, writer.path / "index.csv")
        (writer.path / "NOTICE.md").write_text(render_notice(checked.listing.origins), encoding="utf-8")
        writer.details.update(
            domains=list(report.domains),
            classes=list(report.classes),
            origins=[origin.model_dump(mode="json") for origin in checked.listing.origins],
            counts=_count_images(rows),
            findings={finding.kind: finding.count for finding in report.findings if finding.count},
            dropped=report.num_images - report.num_kept,
        )
        if params.data.recipe is not None:
            writer.details["recipe"] = {"name": params.data.recipe, "version": checked.recipe_version}


def _count_images(rows: Sequence[IndexRow]) -> dict[str, dict[str, int]]:
    """Return domain -> split -> number of images; a split that no domain has is left out."""
    used = [split for split in SPLITS if any(row.split == split for row in rows)]
    counts: dict[str, dict[str, int]] = {row.domain: dict.fromkeys(map(str, used), 0) for row in rows}
    for row in rows:
        counts[row.domain][row.split] += 1
    return counts
