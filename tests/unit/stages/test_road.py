"""Facts about the artifacts of a whole sweep."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from oodtune.artifact import open_artifact
from oodtune.data.cache import open_cache
from oodtune.data.index import SPLITS, Split
from oodtune.errors import ArtifactError, ConfigError, DataError
from oodtune.evaluate.predictions import open_predictions
from oodtune.evaluate.scores import score_models
from oodtune.model.initial import initial_network, load_network
from oodtune.model.weights import digest_weights, load_weights, save_weights
from oodtune.preprocess import decode_image, preprocess
from oodtune.stages import cache as cache_stage
from oodtune.stages import combine, evaluate, init, prepare, select, train
from oodtune.stages.feed import open_feed
from oodtune.train.ranks import Ranks
from oodtune.trial import SoupRecord, TrialRecord, plan_trials
from tests.fixtures.tiny_sweep import tiny_config
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")


def test_the_cache_holds_the_pixels_that_serving_would_see(road: Road) -> None:
    cache = open_cache(road.cache)
    for domain in cache.domains:
        examples = cache.examples(domain, "out")
        for image_id, pixels in zip(examples.ids, examples.images[:], strict=True):
            served = preprocess(decode_image((road.dataset / "images" / image_id).read_bytes()), cache.preprocess)
            assert np.array_equal(pixels, served)


def test_splits_of_the_cache_are_disjoint_and_cover_every_domain(road: Road) -> None:
    cache = open_cache(road.cache)
    inner = {one for domain in cache.domains for one in cache.examples(domain, "in").ids}
    outer = {one for domain in cache.domains for one in cache.examples(domain, "out").ids}
    assert not inner & outer
    assert inner | outer == {row.id for row in cache.rows}


def test_no_image_of_the_target_reaches_a_training_batch(road: Road) -> None:
    target, params = "inverted", train.Params.for_trial(road.config, plan_trials(road.config.sweep)[0])
    plain = params.augment.model_copy(
        update={"crop_scale_min": 1.0, "flip_probability": 0.0, "jitter": 0.0, "grayscale_probability": 0.0}
    )
    cache = open_cache(road.cache)
    allowed = {
        image.tobytes()
        for domain in cache.domains
        if domain != target
        for image in cache.examples(domain, "in").images[:]
    }
    seen = set()
    with open_feed(road.cache, target, 0, plain, params.train, Ranks(torch.device("cpu"))) as feed:
        for step in range(40):
            pixels, _ = feed.draw_batch(step)
            seen |= {np.ascontiguousarray(one).tobytes() for one in pixels.round().byte().permute(0, 2, 3, 1).numpy()}
    assert seen <= allowed
    assert len(seen) > 0.9 * len(allowed)
    assert target not in feed.out_splits


def test_the_initial_head_does_not_change_with_the_images_of_the_target(road: Road, tmp_path: Path) -> None:
    blank = tmp_path / "cache"
    shutil.copytree(road.cache, blank)
    array = np.load(blank / "images" / "inverted.npy")
    np.save(blank / "images" / "inverted.npy", 255 - array)
    manifest = json.loads((blank / "manifest.json").read_text())
    from oodtune.hashing import hash_file

    manifest["files"]["images/inverted.npy"] = hash_file(blank / "images" / "inverted.npy")
    (blank / "manifest.json").write_text(json.dumps(manifest))
    init.run(blank, tmp_path / "init", init.Params.from_config(road.config))
    before, after = open_artifact(road.init, "init"), open_artifact(tmp_path / "init", "init")
    assert after.details["init_digests"]["inverted"] == before.details["init_digests"]["inverted"]
    assert after.details["init_digests"]["plain"] != before.details["init_digests"]["plain"]


def test_trials_of_one_target_start_from_one_state_that_the_digest_names(road: Road) -> None:
    records = [TrialRecord.model_validate(open_artifact(path, "trial").details) for path in road.trials]
    for target in road.config.sweep.target_domains:
        digests = {record.init_digest for record in records if record.trial.target_domain == target}
        network, digest = initial_network(open_artifact(road.init, "init"), target, dropout=0.9)
        assert digests == {digest} == {digest_weights(network.state_dict())}


def test_a_repeated_trial_is_equal_byte_for_byte(road: Road, tmp_path: Path) -> None:
    trial = plan_trials(road.config.sweep)[1]
    assert trial.method == "large_dropout"
    train.run(road.cache, road.init, tmp_path / "again", train.Params.for_trial(road.config, trial), trial)
    for name in ("manifest.json", "weights.safetensors", "log.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (road.directory / "trials" / trial.name / name).read_bytes()


def test_training_changes_the_backbone_and_leaves_batch_norm_statistics(road: Road) -> None:
    initial = load_weights(road.init / "backbone.safetensors")
    trained = load_weights(road.trials[0] / "weights.safetensors")
    for name, tensor in initial.items():
        frozen = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(trained[f"backbone.{name}"], tensor) == frozen


def test_predictions_are_the_logits_of_the_stored_weights(road: Road) -> None:
    predictions, cache = open_predictions(road.predictions), open_cache(road.cache)
    model = predictions.models[0]
    record = TrialRecord.model_validate(open_artifact(road.trials[0], "trial").details)
    assert model.name == record.trial.name
    network = load_network(record.network, road.trials[0] / "weights.safetensors")
    for domain, split in predictions.splits(model.target_domain):
        examples = cache.examples(domain, split)
        assert predictions.ids(domain, split) == examples.ids
        assert np.array_equal(predictions.labels(domain, split), examples.labels)
        with torch.inference_mode():
            logits = network(torch.from_numpy(examples.images[:]).permute(0, 3, 1, 2).float()).numpy()
        assert np.allclose(predictions.logits(model, domain, split), logits, atol=1e-4)


def test_models_are_scored_on_what_no_model_of_their_target_trained_on(road: Road) -> None:
    predictions = open_predictions(road.predictions)
    assert predictions.splits("plain") == [
        ("inverted", "out"),
        ("noise", "out"),
        ("stripes", "out"),
        ("plain", "in"),
        ("plain", "out"),
    ]


def test_the_ensemble_is_the_mean_of_its_members_logits(road: Road) -> None:
    predictions = open_predictions(road.predictions)
    for ensemble in (model for model in predictions.models if model.kind == "ensemble"):
        members = [model for model in predictions.models if model.name in ensemble.members]
        assert len(members) == 2
        key = predictions.splits(ensemble.target_domain)[0]
        mean = np.mean([predictions.logits(member, *key) for member in members], axis=0)
        assert np.allclose(predictions.logits(ensemble, *key), mean, atol=1e-5)


def test_the_soup_is_the_mean_of_its_trials_weights(road: Road) -> None:
    record = SoupRecord.model_validate(open_artifact(road.soups, "soup").details)
    for soup in record.soups:
        if soup.row != "uniform_soup":
            continue
        weights = load_weights(road.soups / soup.path)
        trials = [load_weights(path / "weights.safetensors") for path in road.trials if path.name in soup.ingredients]
        assert len(trials) == 2
        assert torch.allclose(weights["head.weight"], (trials[0]["head.weight"] + trials[1]["head.weight"]) / 2)


def test_the_selected_model_has_the_highest_iid_accuracy_of_its_target(road: Road) -> None:
    selection = json.loads((road.selection / "selection.json").read_text())
    scores = [
        score for score in score_models(open_predictions(road.predictions)) if score.model.target_domain == "inverted"
    ]
    assert selection["iid"] == max(score.iid for score in scores)
    assert selection["winner"]["target_domain"] == "inverted"
    assert set(selection["picks"]) == {"plain", "inverted"}
    assert 0.05 <= selection["temperature"] <= 20


def test_selection_does_not_change_with_the_targets_logits(road: Road, tmp_path: Path) -> None:
    altered = tmp_path / "predictions"
    shutil.copytree(road.predictions, altered)
    from oodtune.hashing import hash_file

    manifest = json.loads((altered / "manifest.json").read_text())
    for path in altered.glob("logits/inverted/*/inverted-*.npy"):
        np.save(path, np.random.default_rng(0).normal(size=np.load(path).shape).astype(np.float32))
        manifest["files"][path.relative_to(altered).as_posix()] = hash_file(path)
    (altered / "manifest.json").write_text(json.dumps(manifest))
    select.run(altered, tmp_path / "selection", select.Params.from_config(road.config))
    before = json.loads((road.selection / "selection.json").read_text())
    after = json.loads((tmp_path / "selection" / "selection.json").read_text())
    assert after["ood"] != before["ood"]
    assert (after["winner"], after["iid"], after["temperature"]) == (
        before["winner"],
        before["iid"],
        before["temperature"],
    )


def test_a_missing_trial_is_named_and_the_rest_goes_on(
    road: Road, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = combine.Params.from_config(road.config)
    combine.run(road.cache, road.init, road.trials[:-1], tmp_path / "soups", params)
    assert f"warning: 1 of 4 planned trials are missing: {road.trials[-1].name}" in capsys.readouterr().err
    record = SoupRecord.model_validate(open_artifact(tmp_path / "soups", "soup").details)
    assert record.missing == (road.trials[-1].name,)
    assert record.trials == tuple(path.name for path in road.trials[:-1])
    with pytest.raises(ArtifactError, match=r"found 2 of 4 trials and none for inverted; run `oodtune sweep`"):
        combine.run(road.cache, road.init, road.trials[:2], tmp_path / "soups", params)


def test_trials_on_disk_that_are_not_planned_are_left_alone(road: Road, tmp_path: Path) -> None:
    fewer = road.config.sweep.model_copy(update={"methods": ("plain",)})
    params = combine.Params(sweep=fewer, combine=road.config.combine)
    combine.run(road.cache, road.init, [road.directory / "trials"], tmp_path / "soups", params)
    record = SoupRecord.model_validate(open_artifact(tmp_path / "soups", "soup").details)
    assert record.soups == ()  # of one trial there is no average
    assert record.trials == tuple(trial.name for trial in plan_trials(fewer))


def test_trials_from_different_initial_states_are_not_averaged(road: Road, tmp_path: Path) -> None:
    other_init = tmp_path / "init"
    params = init.Params.from_config(road.config)
    weaker = params.model_copy(update={"probe": params.probe.model_copy(update={"weight_decay": 0.5})})
    init.run(road.cache, other_init, weaker)
    trial = plan_trials(road.config.sweep)[0]
    train.run(road.cache, other_init, tmp_path / "trial", train.Params.for_trial(road.config, trial), trial)
    params = combine.Params.from_config(road.config)
    with pytest.raises(ArtifactError, match="expected the initial state of"):
        combine.run(road.cache, road.init, [tmp_path / "trial", *road.trials[1:]], tmp_path / "soups", params)
    assert not (tmp_path / "soups").exists()


def test_altered_weights_are_refused(road: Road, tmp_path: Path) -> None:
    copy = tmp_path / road.trials[0].name
    shutil.copytree(road.trials[0], copy)
    weights = load_weights(copy / "weights.safetensors")
    save_weights({**weights, "head.bias": weights["head.bias"] + 1}, copy / "weights.safetensors")
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is not the file that was written"):
        evaluate.run(
            road.cache,
            [copy, *road.trials[1:]],
            road.soups,
            tmp_path / "predictions",
            evaluate.Params.from_config(road.config),
        )


def test_an_unknown_target_domain_is_named(road: Road, tmp_path: Path) -> None:
    params = init.Params.from_config(road.config).model_copy(update={"target_domains": ("oil",)})
    with pytest.raises(DataError, match="found 'oil'"):
        init.run(road.cache, tmp_path / "init", params)
    trial = plan_trials(road.config.sweep)[0].model_copy(update={"target_domain": "noise"})
    with pytest.raises(ArtifactError, match="expected an initial state for target domain 'noise'"):
        train.run(road.cache, road.init, tmp_path / "t", train.Params.for_trial(road.config, trial), trial)


def test_an_unknown_method_is_named(road: Road) -> None:
    trial = plan_trials(road.config.sweep)[0].model_copy(update={"method": "huge"})
    with pytest.raises(ConfigError, match="found 'huge'"):
        train.Params.for_trial(road.config, trial)


def test_iid_is_measured_on_test_splits_that_neither_training_nor_choice_has_seen(tmp_path: Path) -> None:
    data = {"limit_per_cell": 10, "test_fraction": 0.2}
    config = tiny_config(tmp_path, data=data, sweep={"target_domains": ["inverted"], "methods": ["plain"]})
    prepare.run(tmp_path / "dataset", prepare.Params.from_config(config), tmp_path)
    cache_stage.run(tmp_path / "dataset", tmp_path / "cache", cache_stage.Params.from_config(config))
    init.run(tmp_path / "cache", tmp_path / "init", init.Params.from_config(config))
    (trial,) = plan_trials(config.sweep)
    params = train.Params.for_trial(config, trial)
    train.run(tmp_path / "cache", tmp_path / "init", tmp_path / "trial", params, trial)
    combine.run(
        tmp_path / "cache",
        tmp_path / "init",
        [tmp_path / "trial"],
        tmp_path / "soups",
        combine.Params.from_config(config),
    )
    paths = (tmp_path / "cache", [tmp_path / "trial"], tmp_path / "soups", tmp_path / "predictions")
    evaluate.run(*paths, evaluate.Params.from_config(config))
    select.run(tmp_path / "predictions", tmp_path / "selection", select.Params.from_config(config))

    predictions = open_predictions(tmp_path / "predictions")
    score = score_models(predictions)[0]
    shares: dict[Split, list[float]] = {"out": [], "test": []}
    for split, accuracies in shares.items():
        for domain, _ in predictions.iid_splits("inverted", split):
            logits = predictions.logits(score.model, domain, split)
            accuracies.append(float((logits.argmax(1) == predictions.labels(domain, split)).mean()))
    assert score.iid_split == "test"
    assert score.iid == pytest.approx(np.mean(shares["test"]))
    assert score.out_accuracy == pytest.approx(np.mean(shares["out"]))
    record = TrialRecord.model_validate(open_artifact(tmp_path / "trial", "trial").details)
    assert record.source_accuracy == pytest.approx(score.out_accuracy)
    counted = {split: sum(row.split == split for row in open_cache(tmp_path / "cache").rows) for split in SPLITS}
    assert counted == {"in": 6 * 16, "out": 2 * 16, "test": 2 * 16}
    assert len(predictions.splits("inverted")) == 2 * 3 + 3
