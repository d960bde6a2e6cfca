import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from oodtune.artifact import open_artifact
from oodtune.config import BackboneConfig
from oodtune.data.cache import open_cache
from oodtune.errors import ConfigError, DataError
from oodtune.evaluate.screening import Screen
from oodtune.hashing import hash_file
from oodtune.progress import silent
from oodtune.stages import screen
from oodtune.stages.features import Features, SplitFeatures, extract_features, pretrained_network
from oodtune.train.dropout_path import fit_path
from tests.fixtures.small_cache import write_cache
from tests.fixtures.tiny_sweep import BACKBONE, tiny_config

DOMAINS = ("clay", "ink", "oil")
RATES = (0.0, 0.5, 0.9)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    return tiny_config(tmp_path_factory.mktemp("weights")).backbone


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def params(backbone: BackboneConfig) -> screen.Params:
    return screen.Params(backbones=(backbone,), rates=RATES, target_domains=("ink", "oil"))


@pytest.fixture(scope="module")
def made(cache: Path, params: screen.Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "screen"
    screen.run(cache, out, params)
    return out


def read(path: Path) -> Screen:
    return Screen.model_validate_json((path / "screen.json").read_bytes())


def alter_cache(cache: Path, copy: Path, name: str, write: object) -> Path:
    """Copy a cache, let `write` change the file `name` of the copy, and put the new hash into its manifest."""
    shutil.copytree(cache, copy)
    assert callable(write)
    write(copy / name)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][name] = hash_file(copy / name)
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def draw_features(per_split: int, num_features: int) -> SplitFeatures:
    random = torch.Generator().manual_seed(0)
    return {
        (domain, split): Features(torch.randn(per_split, num_features, generator=random) + labels[:, None], labels)
        for domain in DOMAINS
        for split in ("in", "out")
        for labels in [torch.randint(2, (per_split,), generator=random)]
    }


def test_images_of_a_target_do_not_change_its_scores(
    cache: Path, params: screen.Params, made: Path, tmp_path: Path
) -> None:
    def invert(path: Path) -> None:
        np.save(path, 255 - np.load(path))

    screen.run(alter_cache(cache, tmp_path / "cache", "images/ink.npy", invert), tmp_path / "out", params)
    before, after = read(made).backbones[0].targets, read(tmp_path / "out").backbones[0].targets
    assert before[0].target_domain == "ink"
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_test_split_is_never_used(cache: Path, params: screen.Params, made: Path, tmp_path: Path) -> None:
    def hide(path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        hidden = next(place for place, line in enumerate(lines) if line.startswith("oil/") and line.endswith("in\n"))
        lines[hidden] = lines[hidden].replace(",in\n", ",test\n")
        path.write_text("".join(lines), encoding="utf-8")

    altered = alter_cache(cache, tmp_path / "cache", "index.csv", hide)
    opened = open_cache(altered)
    features = extract_features(pretrained_network(opened, params.backbones[0]), opened, "cpu")
    assert len(opened.examples("oil", "test").labels) == 1
    assert sum(len(part.labels) for part in features.values()) == len(opened.rows) - 1


@pytest.mark.parametrize("num_features", [6, 200])
def test_a_fold_is_a_fit_to_the_other_sources_scored_on_the_domain_left_out(
    num_features: int, cache: Path, backbone: BackboneConfig
) -> None:
    features = draw_features(30, num_features)
    params = screen.Params(backbones=(backbone,), rates=RATES, target_domains=DOMAINS)
    folds = screen._leave_out(features, open_cache(cache), params, silent)
    for target in DOMAINS:
        assert [fold.left_out for fold in folds[target]] == [domain for domain in DOMAINS if domain != target]
        for fold in folds[target]:
            (source,) = set(DOMAINS) - {target, fold.left_out}
            path = fit_path(*features[source, "in"], num_classes=2)
            whole = [torch.cat([features[fold.left_out, split][place] for split in ("in", "out")]) for place in (0, 1)]
            assert fold.ood == tuple(path.accuracies(whole[0], whole[1], RATES))
            assert fold.iid == tuple(path.accuracies(*features[source, "out"], RATES))


def test_the_artifact_holds_numbers_tables_and_pictures(made: Path, params: screen.Params) -> None:
    artifact = open_artifact(made, "screen")
    assert set(artifact.manifest.files) == {"screen.json", "screen.png", "screen-dark.png", "table.md"}
    assert artifact.details["backbone"] == BACKBONE
    assert artifact.details["suggestion"]["rate"] in params.rates


def test_an_equal_screening_is_equal_byte_for_byte(
    cache: Path, params: screen.Params, made: Path, tmp_path: Path
) -> None:
    screen.run(cache, tmp_path / "again", params)
    assert open_artifact(tmp_path / "again", "screen").digest == open_artifact(made, "screen").digest


def test_one_model_with_two_weights_makes_two_ranked_rows(
    cache: Path, backbone: BackboneConfig, tmp_path: Path
) -> None:
    copy = tmp_path / "other.safetensors"
    shutil.copy(backbone.weights, copy)
    both = (backbone, BackboneConfig(name=backbone.name, weights=str(copy)))
    screen.run(cache, tmp_path / "out", screen.Params(backbones=both, rates=RATES, target_domains=("ink",)))
    found = read(tmp_path / "out")
    assert {one.label for one in found.backbones} == {f"{one.name} ({one.weights})" for one in both}
    assert found.backbones[0].curve == found.backbones[1].curve


def test_two_domains_are_refused_for_leaving_none_to_fit_to(
    backbone: BackboneConfig, params: screen.Params, tmp_path: Path
) -> None:
    from oodtune.config import PreprocessConfig
    from oodtune.stages import cache as cache_stage
    from tests.fixtures.small_cache import write_dataset

    dataset = write_dataset(tmp_path / "dataset", domains=("ink", "oil"))
    cache_stage.run(dataset, tmp_path / "cache", cache_stage.Params(preprocess=PreprocessConfig(size=16)))
    with pytest.raises(DataError, match=r"expected 3 domains or more .* found 2 \(ink, oil\)"):
        screen.run(tmp_path / "cache", tmp_path / "out", params)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_no_domain_is_refused(cache: Path, backbone: BackboneConfig, tmp_path: Path) -> None:
    params = screen.Params(backbones=(backbone,), rates=RATES, target_domains=("chalk",))
    with pytest.raises(DataError, match="found 'chalk'"):
        screen.run(cache, tmp_path / "out", params)


def test_a_second_backbone_that_cannot_be_had_is_found_before_any_work(
    cache: Path, backbone: BackboneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = (backbone, BackboneConfig(name="resnet51", weights="bundled"))
    params = screen.Params(backbones=both, rates=RATES, target_domains=("ink",))
    monkeypatch.setattr(screen, "extract_features", lambda *_: pytest.fail("features were extracted"))
    with pytest.raises(ConfigError, match="resnet51"):
        screen.run(cache, tmp_path / "out", params)


def test_a_domain_with_an_empty_split_is_refused(cache: Path, params: screen.Params, tmp_path: Path) -> None:
    def empty(path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        moved = [line.replace(",out\n", ",in\n") if line.startswith("oil/") else line for line in lines]
        path.write_text("".join(moved), encoding="utf-8")

    altered = alter_cache(cache, tmp_path / "cache", "index.csv", empty)
    with pytest.raises(DataError, match="expected images in the out-split of domain 'oil', found none"):
        screen.run(altered, tmp_path / "out", params)


@pytest.mark.parametrize("rates", [(0.1, 0.5), (0.0, 0.9, 0.5), (0.0, 0.5, 0.5), (0.0, 1.0), (0.0,)])
def test_rates_must_ascend_from_0_and_stay_below_1(rates: tuple[float, ...], backbone: BackboneConfig) -> None:
    with pytest.raises(ValueError, match="rates"):
        screen.Params(backbones=(backbone,), rates=rates, target_domains=("ink",))


def test_backbones_pair_with_weights_one_for_all_or_one_for_each() -> None:
    default = BackboneConfig(name="a", weights="w")
    assert screen.choose_backbones(default, [], []) == (default,)
    assert [one.weights for one in screen.choose_backbones(default, ["b", "c"], ["hub"])] == ["hub", "hub"]
    assert [one.weights for one in screen.choose_backbones(default, ["b", "c"], ["x", "y"])] == ["x", "y"]
    assert screen.choose_backbones(default, ["b"], []) == (BackboneConfig(name="b", weights="w"),)


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (["b", "c", "d"], ["x", "y"], "one for each of 3, found 2"),
        (["b", "b"], ["hub"], "'b' twice"),
    ],
)
def test_backbones_that_do_not_fit_their_weights_are_refused(
    names: list[str], weights: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        screen.choose_backbones(BackboneConfig(name="a"), names, weights)
