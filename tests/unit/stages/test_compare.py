"""A new bundle against the one in production: real bundles, a real registry, accuracies computed by torch."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from oodtune.artifact import MANIFEST, create_artifact, write_json
from oodtune.config import PromoteConfig, PublishConfig
from oodtune.data.index import IndexRow, write_index
from oodtune.stages import compare, publish
from tests.unit.tiny_bundle import CLASSES, SIZE, tiny_network, torch_logits, write_bundle

pytestmark = pytest.mark.xdist_group("s3")

GOOD, BAD = 3, 4
"""Seeds of networks: most labels of the source domains are the first one's, all of the target's the other's."""
SHARE = {"ink": 4, "oil": 3}
"""Source domain -> of so many images, one is labelled by the bad network."""
TARGET = "wax"
NUM = 40


@dataclass(frozen=True)
class Data:
    path: Path
    right: Mapping[tuple[int, str], npt.NDArray[np.bool_]]
    """(seed, domain) -> whether the network labels each image of the out-split right, by torch."""

    def accuracy(self, seed: int, domain: str) -> float:
        return 100.0 * float(self.right[seed, domain].mean())

    def mean(self, seed: int) -> float:
        return float(np.mean([self.accuracy(seed, domain) for domain in SHARE]))


def draw_images(seed: int) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (NUM, 4, 4, 3), np.uint8)
    return coarse.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)


def label(seed: int, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    return torch_logits(tiny_network(seed), images).argmax(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    path, rows, right = tmp_path_factory.mktemp("compare") / "dataset", [], {}
    with create_artifact(path, "dataset") as writer:
        for number, domain in enumerate((*SHARE, TARGET)):
            images = draw_images(number)
            good, bad = label(GOOD, images), label(BAD, images)
            truth = bad if domain == TARGET else np.where(np.arange(NUM) % SHARE[domain] == 0, bad, good)
            right |= {(GOOD, domain): good == truth, (BAD, domain): bad == truth}
            for place, (image, one) in enumerate(zip(images, truth, strict=True)):
                for split, wanted in (("out", one), ("in", (one + 1) % 3)):  # what is trained on must not count
                    row = IndexRow(f"{domain}/{CLASSES[wanted]}/{split}{place}.png", domain, CLASSES[wanted], split)
                    rows.append(row)
                    (writer.path / "images" / row.id).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(writer.path / "images" / row.id)
        write_index(sorted(rows), writer.path / "index.csv")
    return Data(path, right)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    directory = tmp_path_factory.mktemp("bundles")
    return {seed: bundle_of(write_bundle(directory / f"{seed}", (seed,)), directory) for seed in (GOOD, BAD)}


def bundle_of(tiny: Path, directory: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """Return a copy of a bundle that knows its target domain, and calls its classes so."""
    out = directory / f"{tiny.name}-told"
    with create_artifact(out, "bundle") as writer:
        shutil.copytree(tiny, writer.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        write_json(writer.path / "labels.json", list(classes))
        write_json(writer.path / "lineage.json", {"target_domain": TARGET})
    return out


def decide(data: Data, new: Path, registry: PublishConfig, out: Path, min_gain: float = 0.0) -> bool:
    params = compare.Params(publish=registry, promote=PromoteConfig(min_gain=min_gain))
    return compare.run(data.path, new, out / "new" / "comparison.md", params)


def put(registry: PublishConfig, bundle: Path) -> str:
    return publish.run(bundle, publish.Params(publish=registry), promote=True).rstrip("/").rpartition("/")[2]


def page(directory: Path) -> str:
    return (directory / "new" / "comparison.md").read_text(encoding="utf-8")


def test_what_is_better_may_take_the_place_and_the_numbers_are_torchs(
    data: Data, bundles: dict[int, Path], registry: PublishConfig, tmp_path: Path
) -> None:
    version = put(registry, bundles[BAD])
    assert data.mean(GOOD) > data.mean(BAD) + 10
    assert decide(data, bundles[GOOD], registry, tmp_path) is True
    text = page(tmp_path)
    assert text.startswith("# May take production's place\n")
    assert f"| domain (out-split) | in production, {version} | new |" in text
    for domain in SHARE:
        assert f"| {domain} | {data.accuracy(BAD, domain):.1f} | {data.accuracy(GOOD, domain):.1f} |" in text
    assert TARGET not in text
    assert f"Gain {data.mean(GOOD) - data.mean(BAD):+.2f} points on the mean of domains" in text
    good, bad = (np.concatenate([data.right[seed, domain] for domain in SHARE]) for seed in (GOOD, BAD))
    counts = int((good & ~bad).sum()), int((bad & ~good).sum())
    assert "{} images only the new one labels right, {} only the old one.".format(*counts) in text
    assert all(counts)


def test_what_is_worse_may_not_unless_that_is_allowed(
    data: Data, bundles: dict[int, Path], registry: PublishConfig, tmp_path: Path
) -> None:
    put(registry, bundles[GOOD])
    assert decide(data, bundles[BAD], registry, tmp_path) is False
    assert page(tmp_path).startswith("# Does not take production's place\n")
    loss = data.mean(BAD) - data.mean(GOOD)
    assert decide(data, bundles[BAD], registry, tmp_path, min_gain=loss) is True
    assert decide(data, bundles[BAD], registry, tmp_path, min_gain=loss + 0.01) is False


def test_the_same_model_may_take_its_own_place_but_gains_nothing(
    data: Data, bundles: dict[int, Path], registry: PublishConfig, tmp_path: Path
) -> None:
    put(registry, bundles[GOOD])
    assert decide(data, bundles[GOOD], registry, tmp_path) is True
    assert decide(data, bundles[GOOD], registry, tmp_path, min_gain=0.01) is False
    assert "Gain +0.00 points" in page(tmp_path)


def test_with_nothing_in_production_anything_may(
    data: Data, bundles: dict[int, Path], registry: PublishConfig, tmp_path: Path
) -> None:
    assert decide(data, bundles[BAD], registry, tmp_path, min_gain=99.0) is True
    assert "Nothing is in production." in page(tmp_path)


def test_other_classes_are_for_people_to_decide(
    data: Data, bundles: dict[int, Path], registry: PublishConfig, tmp_path: Path
) -> None:
    put(registry, bundle_of(bundles[BAD], tmp_path, ("cat", "dog", "shrub")))
    assert decide(data, bundles[GOOD], registry, tmp_path) is False
    assert "The classes differ (shrub, tree)" in page(tmp_path)
    put(registry, bundle_of(bundles[BAD], tmp_path, CLASSES[::-1]))  # the same ones in another order are no others
    decide(data, bundles[GOOD], registry, tmp_path)
    assert "Gain " in page(tmp_path)
