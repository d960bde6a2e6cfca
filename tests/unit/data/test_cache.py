from pathlib import Path

import numpy as np
import pytest

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import PreprocessConfig
from oodtune.data.cache import Cache, open_cache
from oodtune.data.index import IndexRow
from oodtune.errors import ArtifactError, DataError
from oodtune.preprocess import decode_image, preprocess
from oodtune.stages import cache as stage
from tests.fixtures.small_cache import write_cache, write_dataset


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return open_cache(write_cache(tmp_path_factory.mktemp("small")))


def test_examples_are_the_images_and_labels_of_their_ids(cache: Cache) -> None:
    images_dir = cache.artifact.path.parent / "dataset" / "images"
    for domain in cache.domains:
        for split in ("in", "out"):
            examples = cache.examples(domain, split)  # type: ignore[arg-type]
            assert len(examples.ids) == len(examples.images) == len(examples.labels) > 0
            for place, image_id in enumerate(examples.ids):
                pixels = preprocess(decode_image(images_dir / image_id), cache.preprocess)
                assert np.array_equal(examples.images[place : place + 1][0], pixels)
                assert cache.classes[examples.labels[place]] == image_id.split("/")[1]


def test_a_split_without_images_is_empty(cache: Cache) -> None:
    only_in = Cache(
        cache.artifact,
        cache.classes,
        cache.domains,
        cache.preprocess,
        tuple(r._replace(split="in") for r in cache.rows),
    )
    examples = only_in.examples("ink", "out")
    assert examples.images.shape == (0, 16, 16, 3)
    assert examples.labels.shape == (0,)
    assert examples.ids == ()


def test_an_unknown_domain_is_named(cache: Cache) -> None:
    with pytest.raises(DataError, match=r"expected one of the domains \['clay', 'ink', 'oil'\], found 'wax'"):
        cache.examples("wax", "in")


def test_an_altered_image_of_the_dataset_is_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    image = dataset / "images/ink/cat/000003.png"
    image.write_bytes((dataset / "images/ink/cat/000002.png").read_bytes())
    with pytest.raises(ArtifactError, match=r"images/ink/cat/000003\.png is not the file.*`oodtune prepare`"):
        stage.run(dataset, tmp_path / "cache", stage.Params(preprocess=PreprocessConfig(size=16)))
    assert not (tmp_path / "cache").exists()


def test_an_altered_index_of_the_dataset_is_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    index = dataset / "index.csv"
    index.write_text(index.read_text().replace(",in\n", ",out\n"))
    with pytest.raises(ArtifactError, match=r"index\.csv is not the file"):
        stage.run(dataset, tmp_path / "cache", stage.Params(preprocess=PreprocessConfig(size=16)))


def test_the_artifact_holds_the_arrays_and_the_index_only(cache: Cache) -> None:
    files = open_artifact(cache.artifact.path, "cache").manifest.files
    assert set(files) == {"index.csv", "images/clay.npy", "images/ink.npy", "images/oil.npy"}
    on_disk = {path.relative_to(cache.artifact.path).as_posix() for path in cache.artifact.path.rglob("*.*")}
    assert on_disk == {*files, "manifest.json"}


def test_other_settings_do_not_resume_what_was_interrupted(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset")
    bicubic, bilinear = (
        stage.Params(preprocess=PreprocessConfig(size=16, interpolation=name)) for name in ("bicubic", "bilinear")
    )
    image = dataset / "images/oil/dog/000005.png"
    whole = image.read_bytes()
    image.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        stage.run(dataset, tmp_path / "cache", bicubic)
    image.write_bytes(whole)
    stage.run(dataset, tmp_path / "cache", bilinear)
    stage.run(dataset, tmp_path / "at_once", bilinear)
    assert open_cache(tmp_path / "cache").artifact.digest == open_cache(tmp_path / "at_once").artifact.digest


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    from oodtune.data.index import write_index

    with create_artifact(tmp_path / "dataset", "dataset") as writer:
        (writer.path / "images/ink/cat").mkdir(parents=True)
        (writer.path / "images/ink/cat/1.png").write_bytes(b"not an image")
        write_index([IndexRow("ink/cat/1.png", "ink", "cat", "in")], writer.path / "index.csv")
        writer.details.update(domains=["ink"], classes=["cat"], origins=[])
    with pytest.raises(DataError, match=r"^ink/cat/1\.png: expected an image"):
        stage.run(tmp_path / "dataset", tmp_path / "cache", stage.Params(preprocess=PreprocessConfig(size=16)))
