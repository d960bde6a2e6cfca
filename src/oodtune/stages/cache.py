"""`dataset` -> `cache`: every image decoded and resized once, as training, evaluation and serving see it."""

import shutil
from pathlib import Path

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import PreprocessConfig, StageParams
from oodtune.data.cache import decode_domain
from oodtune.data.index import read_index
from oodtune.progress import progress_bar


class Params(StageParams):
    preprocess: PreprocessConfig


def run(dataset: Path | str, out: Path | str, params: Params) -> None:
    """Write a `cache` artifact: `images/<domain>.npy`, uint8 (N, S, S, 3), rows in the order of `index.csv`."""
    source = open_artifact(Path(dataset), "dataset")
    rows = read_index(source.path / "index.csv")
    with create_artifact(Path(out), "cache", params, {"dataset": source}) as writer:
        (writer.path / "images").mkdir()
        for domain in source.details["domains"]:
            with progress_bar("Decode") as progress:
                decode_domain(
                    source.path / "images",
                    [row for row in rows if row.domain == domain],
                    params.preprocess,
                    writer.path / "images" / f"{domain}.npy",
                    progress,
                )
        shutil.copyfile(source.path / "index.csv", writer.path / "index.csv")
        writer.details.update(
            domains=source.details["domains"],
            classes=source.details["classes"],
            origins=source.details["origins"],
            preprocess=params.preprocess.model_dump(mode="json"),
        )
