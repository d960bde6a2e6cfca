"""Images of any source -> what was found in them: the first half of `prepare`, and `oodtune data check`."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from oodtune.artifact import write_json
from oodtune.config import DataConfig
from oodtune.data.check.contact_sheet import choose_examples, draw_sheets
from oodtune.data.check.examine import Verdict, examine, refuse
from oodtune.data.check.page import render_page
from oodtune.data.recipes import check_recipe
from oodtune.data.sources import Listing, list_images
from oodtune.progress import progress_bar

JSON, PAGE = "check.json", "check.html"


@dataclass(frozen=True)
class Checked:
    """Images that may be used."""

    listing: Listing
    verdict: Verdict
    recipe_version: str | None
    """Which version of `data.recipe` they are; None if no recipe was asked for."""


def run(out: Path | str, config: DataConfig, downloads_dir: Path | str) -> Verdict:
    """Check the images of `config` and write `check.json` and `check.html` to `out`; keep nothing else.

    Raises DataError if there is nothing to check; findings that refuse the images are in the report.
    """
    with tempfile.TemporaryDirectory(prefix="oodtune-check-") as work_dir:
        listing, _ = _list(config, Path(work_dir), Path(downloads_dir))
        return _look(listing, config, Path(out))


def check_images(config: DataConfig, work_dir: Path, downloads_dir: Path, report_dir: Path) -> Checked:
    """Check the images of `config`; a source that draws some does so in `work_dir`.

    Writes `check.json` and `check.html` to `report_dir`, then raises DataError if a finding refuses the images.
    """
    listing, recipe_version = _list(config, work_dir, downloads_dir)
    verdict = _look(listing, config, report_dir)
    refuse(verdict.report, f"{report_dir / PAGE} shows all of them")
    return Checked(listing, verdict, recipe_version)


def _list(config: DataConfig, work_dir: Path, downloads_dir: Path) -> tuple[Listing, str | None]:
    with progress_bar("Images") as progress:
        listing = list_images(config, work_dir, downloads_dir, progress)
    if config.recipe is None:
        return listing, None
    image_ids = [image.id for image in listing.images]
    return listing, check_recipe(config.recipe, image_ids, whole=config.limit_per_cell is None)


def _name(config: DataConfig) -> str:
    """Return what people call these images: a page names no machine's folders."""
    if config.table is not None:
        return config.table.file.name
    if config.root is not None:
        return config.root.resolve().name
    return config.source if config.dvc is None else f"{config.dvc.path} at {config.dvc.rev}"


def _look(listing: Listing, config: DataConfig, report_dir: Path) -> Verdict:
    with progress_bar("Check") as progress:
        verdict = examine(listing, config, progress)
    paths = {image.id: image.path for image in listing.images}
    with progress_bar("Contact sheets") as progress:
        chosen = choose_examples(row.id for row in verdict.rows)
        sheets = draw_sheets({cell: [paths[one] for one in ids] for cell, ids in chosen.items()}, progress)
    report_dir.mkdir(parents=True, exist_ok=True)
    write_json(report_dir / JSON, verdict.report.model_dump(mode="json"))
    page = render_page(verdict.report, sheets, title=f"{_name(config)}: what is in these images")
    (report_dir / PAGE).write_text(page, encoding="utf-8")
    return verdict
