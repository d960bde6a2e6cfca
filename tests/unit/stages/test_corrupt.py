"""How the selected model of a tiny sweep holds on corrupted images."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oodtune.artifact import create_artifact, open_artifact, write_json
from oodtune.config import PreprocessConfig
from oodtune.data.cache import open_cache
from oodtune.data.corruptions import COMMON, Batch
from oodtune.data.corruptions import corrupt as corrupt_images
from oodtune.errors import ArtifactError, ConfigError, DataError
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.corruption import Corruptions
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import accuracy
from oodtune.evaluate.predictions import Model, open_predictions
from oodtune.evaluate.scores import score_models
from oodtune.model.device import choose_device
from oodtune.model.initial import load_network
from oodtune.stages import cache, corrupt
from oodtune.stages.model_weights import find_weights
from tests.fixtures.small_cache import write_dataset

TARGET = "inverted"
NAMES = ("gaussian_noise", "contrast")


def params(*also: str, seed: int = 0) -> corrupt.Params:
    return corrupt.Params.of(NAMES, (1, 5), also, seed)


def run(road: Any, out: Path, settings: corrupt.Params, **replaced: Any) -> Corruptions:
    inputs = {name: getattr(road, name) for name in ("cache", "trials", "soups", "predictions", "selection")}
    corrupt.run(**{**inputs, **replaced}, out=out, params=settings, device="cpu")
    return Corruptions.model_validate_json((out / "corruptions.json").read_bytes())


@pytest.fixture(scope="module")
def models(road) -> list[Model]:
    """The models of the target, one of each kind."""
    own = [model for model in open_predictions(road.predictions).models if model.target_domain == TARGET]
    return [next(model for model in own if model.kind == kind) for kind in ("trial", "soup", "ensemble")]


@pytest.fixture(scope="module")
def made(road, models, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("corrupt") / "corruptions"
    run(road, out, params(*(model.name for model in models)))
    return out


@pytest.fixture(scope="module")
def found(made) -> Corruptions:
    return Corruptions.model_validate_json((made / "corruptions.json").read_bytes())


def test_the_artifact_holds_numbers_a_table_and_pictures_and_names_what_it_is_made_of(road, made, found):
    artifact = open_artifact(made, "corruptions")
    files = {"corruptions.json", "corruptions.png", "corruptions-dark.png", "table.md"}
    assert set(artifact.manifest.files) == files
    assert {"cache", "predictions", "selection"} <= artifact.manifest.inputs.keys()
    assert artifact.details["target_domain"] == TARGET
    assert artifact.details["means"][found.models[0].name]["ood"] == found.models[0].mean.ood


def test_the_selected_model_comes_first_and_every_model_once(road, models, found):
    winner = Choice.model_validate_json((road.selection / "selection.json").read_bytes()).winner.name
    names = [model.name for model in found.models]
    assert names[0] == winner
    assert sorted(names) == sorted({winner, *(model.name for model in models)})


def test_clean_accuracies_are_those_of_the_table(road, found):
    scores = {one.model.name: one for one in score_models(open_predictions(road.predictions))}
    for model in found.models:
        assert (model.clean.iid, model.clean.ood) == (scores[model.name].iid, scores[model.name].ood)


@pytest.mark.parametrize("kind", ["trial", "soup"])
def test_a_corrupted_accuracy_is_that_of_the_network_on_the_corrupted_images(road, models, found, kind):
    model = next(one for one in models if one.kind == kind)
    source = find_weights(model, road.trials, road.soups)
    network = load_network(source.network, source.weights[0])
    opened, right, total = open_cache(road.cache), 0.0, 0
    for split in ("in", "out"):
        examples = opened.examples(TARGET, split)
        images = corrupt_images(Batch(examples.images[:], examples.ids, "gaussian_noise", 5))
        share = accuracy(compute_logits(network, images, choose_device("cpu")), examples.labels)
        right, total = right + share * len(examples.ids), total + len(examples.ids)
    measured = next(one for one in found.models if one.name == model.name)
    assert measured.corrupted["gaussian_noise"][1].ood == pytest.approx(right / total)
    assert found.num_images[TARGET] == total


def test_an_ensemble_is_the_mean_of_its_members_logits(road, models):
    ensemble = models[2]
    counter = corrupt.Counter(
        {model: find_weights(model, road.trials, road.soups) for model in open_predictions(road.predictions).models
         if model.name in {*ensemble.members, ensemble.name}},
        choose_device("cpu"),
    )  # fmt: skip
    images = open_cache(road.cache).examples(TARGET, "out").images[:2]
    logits = dict(counter._logits(images))
    assert np.allclose(logits[ensemble.name], np.mean([logits[name] for name in ensemble.members], axis=0), atol=1e-5)


def test_equal_inputs_give_equal_bytes_and_another_seed_another_artifact(road, models, made, tmp_path):
    names = [model.name for model in models]
    run(road, tmp_path / "again", params(*names))
    assert open_artifact(tmp_path / "again", "corruptions").digest == open_artifact(made, "corruptions").digest
    run(road, tmp_path / "other", params(*names, seed=1))
    assert open_artifact(tmp_path / "other", "corruptions").digest != open_artifact(made, "corruptions").digest


def test_by_default_the_best_model_of_the_baseline_is_compared_with(road, tmp_path):
    own = [s for s in score_models(open_predictions(road.predictions)) if s.model.target_domain == TARGET]
    best = max((score for score in own if score.model.row == "plain"), key=lambda score: score.out_accuracy)
    found = run(road, tmp_path / "out", params())
    assert best.model.name in [model.name for model in found.models]


def test_a_model_that_was_not_evaluated_is_refused_with_the_names_there_are(road, models, tmp_path):
    with pytest.raises(ConfigError, match=rf"model evaluated for target domain {TARGET}, found 'x'.*{models[0].name}"):
        run(road, tmp_path / "out", params("x"))
    assert not (tmp_path / "out").exists()


def test_a_selection_among_other_predictions_is_refused(road, tmp_path):
    with create_artifact(tmp_path / "selection", "selection") as writer:
        write_json(writer.path / "selection.json", {})
    with pytest.raises(ArtifactError, match="made from another 'predictions'; run `oodtune select` again"):
        run(road, tmp_path / "out", params(), selection=tmp_path / "selection")


def test_another_cache_than_the_evaluated_one_is_refused(road, tmp_path):
    with create_artifact(tmp_path / "cache", "cache") as writer:
        for name in ("images", "index.csv"):
            path = road.cache / name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, writer.path / name)
        writer.details.update(open_artifact(road.cache, "cache").details)
    with pytest.raises(ArtifactError, match="made from another 'cache'; run `oodtune evaluate` again"):
        run(road, tmp_path / "out", params(), cache=tmp_path / "cache")


def test_images_too_small_to_corrupt_are_refused(road, tmp_path):
    write_dataset(tmp_path / "dataset")
    cache.run(tmp_path / "dataset", tmp_path / "cache", cache.Params(preprocess=PreprocessConfig(size=16)))
    with pytest.raises(DataError, match="expected images of 32 pixels a side or more, found 16"):
        run(road, tmp_path / "out", params(), cache=tmp_path / "cache")


def test_the_settings_are_the_papers_by_default_and_in_its_order():
    settings = corrupt.Params.of((), (), (), 0)
    assert settings.corruptions == COMMON
    assert settings.severities == (1, 2, 3, 4, 5)
    assert settings.also is None
    assert corrupt.Params.of(("fog", "shot_noise", "fog"), (4, 2, 4), (), 0) == corrupt.Params(
        corruptions=("shot_noise", "fog"), severities=(2, 4)
    )


@pytest.mark.parametrize(
    ("names", "severities", "message"),
    [(("fog", "smog"), (), "found smog"), ((), (6,), r"severities\.0: .* less than or equal to 5, found 6")],
)
def test_an_unknown_corruption_or_severity_is_refused(names, severities, message):
    with pytest.raises(ConfigError, match=message):
        corrupt.Params.of(names, severities, (), 0)
