"""`dataset` -> `cache`: every image decoded and resized once, as training, evaluation and serving see it."""

import shutil
from pathlib import Path

from oodtune.artifact import Artifact, create_artifact, open_artifact, read_verified, verify_artifact
from oodtune.config import PreprocessConfig, StageParams
from oodtune.data.decode import Source, decode_images
from oodtune.data.index import read_index
from oodtune.progress import progress_bar
from oodtune.stages.shared import make_shared

INDEX = "index.csv"


class Params(StageParams):
    preprocess: PreprocessConfig


def run(dataset: Path | str, out: Path | str, params: Params, shared_dir: Path | str = "") -> None:
    """Write a `cache` artifact: `images/<domain>.npy`, uint8 (N, S, S, 3), rows in the order of `index.csv`.

    Every image is read once, and verified then. An interrupted run goes on where it was. With a `shared_dir`, it is
    kept there and `out` refers to it. Raises ArtifactError naming an image that was altered, DataError naming one
    that cannot be decoded.
    """
    source = open_artifact(Path(dataset), "dataset", verify=False)
    verify_artifact(source, [INDEX])
    made_from = {"dataset": source.digest, "params": params.to_json()}
    make_shared(Path(out), "cache", made_from, lambda place: _write(place, source, params), shared_dir)


def _write(out: Path, source: Artifact, params: Params) -> None:
    with create_artifact(out, "cache", params, {"dataset": source}, resume=True) as writer:
        images_dir = writer.path / "images"
        images_dir.mkdir(exist_ok=True)
        images = Source(
            rows=read_index(source.path / INDEX),
            read=lambda image_id: read_verified(source, f"images/{image_id}"),
        )
        with progress_bar("Decode") as progress:
            hashes = decode_images(images, params.preprocess, images_dir, writer.notes_dir / "decoded", progress)
        writer.hashes.update({f"images/{name}": digest for name, digest in hashes.items()})
        shutil.copyfile(source.path / INDEX, writer.path / INDEX)
        writer.details.update(
            domains=source.details["domains"],
            classes=source.details["classes"],
            origins=source.details["origins"],
            preprocess=params.preprocess.model_dump(mode="json"),
        )
