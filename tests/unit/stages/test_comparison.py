"""What is made of trials, and how it is scored: trajectories, pairs of domains held out, logits that are known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from oodtune.artifact import open_artifact
from oodtune.combine.ensemble import probability_ensemble
from oodtune.config import Config
from oodtune.data.cache import open_cache
from oodtune.errors import ArtifactError, DataError
from oodtune.evaluate.predictions import Predictions, open_predictions
from oodtune.evaluate.scores import score_models
from oodtune.model.weights import load_weights
from oodtune.stages import combine, evaluate, init, train
from oodtune.stages.model_weights import find_weights
from oodtune.trial import SoupRecord, TrialRecord, plan_trials
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")

PAIR = "plain+inverted"


class Compared:
    """Two methods and a pair of domains, with states kept along the trajectories; every kind of soup and ensemble."""

    def __init__(self, road: Road, root: Path) -> None:
        settings = road.config.model_dump(mode="json")
        settings["sweep"] |= {"target_domains": ["inverted", PAIR]}
        settings["train"] |= {"keep_every": 2}
        settings["combine"] = {
            "soups": ["uniform", "greedy", "greedy_not_worse", "model_stock"],
            "by_method": True,
            "shares": [0.5],
            "ensembles": ["logit", "probability"],
        }
        self.config = Config.model_validate(settings)
        self.root, self.cache, self.init = root, road.cache, root / "init"
        init.run(self.cache, self.init, init.Params.from_config(self.config))
        for trial in plan_trials(self.config.sweep):
            params = train.Params.for_trial(self.config, trial)
            train.run(self.cache, self.init, root / "trials" / trial.name, params, trial, "cpu")
        self.soups, self.predictions = root / "soups", root / "predictions"
        params = combine.Params.from_config(self.config)
        combine.run(self.cache, self.init, [root / "trials"], self.soups, params, "cpu")
        self.evaluate(self.predictions)

    def evaluate(self, out: Path, trials: Path | None = None) -> Predictions:
        params = evaluate.Params.from_config(self.config)
        evaluate.run(self.cache, [trials or self.root / "trials"], self.soups, out, params, "cpu")
        return open_predictions(out)


@pytest.fixture(scope="module")
def compared(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return Compared(road, tmp_path_factory.mktemp("compared"))


def test_a_trial_keeps_the_states_that_were_asked_for(compared: Compared) -> None:
    for trial in plan_trials(compared.config.sweep):
        artifact = open_artifact(compared.root / "trials" / trial.name, "trial")
        assert TrialRecord.model_validate(artifact.details).trajectory == (2, 4, 6)


def test_a_trajectory_soup_is_the_mean_of_its_states(compared: Compared) -> None:
    record = SoupRecord.model_validate(open_artifact(compared.soups, "soup").details)
    soup = next(one for one in record.soups if one.row == "plain_trajectory_soup" and one.target_domain == "inverted")
    assert soup.trial is not None
    directory = compared.root / "trials" / soup.trial.name / "trajectory"
    states = [load_weights(directory / f"{step:09d}.safetensors")["head.weight"] for step in (2, 4, 6)]
    mean = torch.stack(states).double().mean(0)
    assert torch.allclose(load_weights(compared.soups / soup.path)["head.weight"].double(), mean, atol=1e-7)
    assert soup.ingredients == tuple(f"{soup.trial.name}@{step}" for step in (2, 4, 6))


def test_a_greedy_soup_is_no_worse_than_its_first_ingredient_and_says_what_it_tried(compared: Compared) -> None:
    record = SoupRecord.model_validate(open_artifact(compared.soups, "soup").details)
    scores = {(s.model.target_domain, s.model.name): s for s in score_models(open_predictions(compared.predictions))}
    for soup in record.soups:
        if soup.row.startswith("greedy"):
            assert len(soup.tried) == 2
            assert soup.ingredients == tuple(one.name for one in soup.tried if one.accepted)
            score = scores[soup.target_domain, soup.name]
            assert score.out_accuracy == pytest.approx(max(one.score for one in soup.tried if one.accepted))
            assert (
                score.out_accuracy
                >= max(scores[soup.target_domain, one.name].out_accuracy for one in soup.tried) - 1e-9
            )


def test_the_share_of_a_path_is_the_share_of_the_way(compared: Compared) -> None:
    record = SoupRecord.model_validate(open_artifact(compared.soups, "soup").details)
    soups = {one.name: one for one in record.soups if one.target_domain == "inverted"}
    (plain,) = (t.name for t in plan_trials(compared.config.sweep) if t.name.startswith("inverted-plain"))
    head = load_weights(compared.init / "heads" / "inverted.safetensors")["weight"]
    trained = load_weights(compared.root / "trials" / plain / "weights.safetensors")["head.weight"]
    middle = load_weights(compared.soups / soups["plain_wise_0.5"].path)["head.weight"]
    assert torch.allclose(middle, (head + trained) / 2, atol=1e-7)
    assert "plain_to_large_dropout_0.5" in soups


def test_every_row_is_there_and_ensembles_are_means_of_their_members(compared: Compared) -> None:
    predictions = open_predictions(compared.predictions)
    models = {one.name: one for one in predictions.models if one.target_domain == "inverted"}
    rows = {one.row for one in models.values()}
    assert {"logit_ensemble", "probability_ensemble", "plain_trajectory_ensemble"} <= rows
    assert "large_dropout_trajectory_probability_ensemble" in rows
    ensemble = models["probability_ensemble"]
    assert ensemble.num_networks == 2
    members = [predictions.logits(models[name], "inverted", "in") for name in ensemble.members]
    assert np.array_equal(predictions.logits(ensemble, "inverted", "in"), probability_ensemble(members))
    assert len({(one.target_domain, one.name) for one in predictions.models}) == len(predictions.models)


def test_states_of_a_trajectory_are_no_models_by_themselves(compared: Compared) -> None:
    names = {path.name for path in (compared.predictions / "logits" / "inverted").iterdir()}
    assert names == {
        one.name for one in open_predictions(compared.predictions).models if one.target_domain == "inverted"
    }
    assert not any("@" in name for name in names)


def test_of_a_pair_both_domains_are_held_out_and_each_is_scored_whole(compared: Compared) -> None:
    predictions = open_predictions(compared.predictions)
    splits = predictions.splits(PAIR)
    assert {domain for domain, split in splits if split == "in"} == {"plain", "inverted"}
    assert set(open_cache(compared.cache).source_domains(PAIR)) == {d for d, _ in splits} - {"plain", "inverted"}
    score = next(one for one in score_models(predictions) if one.model.target_domain == PAIR)
    assert score.model.is_validation
    assert score.ood == pytest.approx((score.per_domain["plain"] + score.per_domain["inverted"]) / 2)


def test_a_pair_of_an_unknown_domain_or_of_all_there_are_is_refused(compared: Compared) -> None:
    cache = open_cache(compared.cache)
    with pytest.raises(DataError, match="found 'oil'"):
        cache.source_domains("plain+oil")


def test_known_logits_are_taken_and_give_the_same_bytes(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "predictions"
    shutil.copytree(compared.predictions, out)
    computed: list[str] = []
    original = evaluate.Evaluator._compute
    monkeypatch.setattr(
        evaluate.Evaluator, "_compute", lambda self, job, *rest: computed.append(job.name) or original(self, job, *rest)
    )
    again = compared.evaluate(out)
    assert all("@" in name for name in computed)  # states of trajectories are not stored
    assert again.artifact.digest == open_artifact(compared.predictions, "predictions").digest


def test_logits_of_another_cache_are_not_taken(compared: Compared) -> None:
    from oodtune.stages.known_logits import KnownLogits

    model = open_predictions(compared.predictions).models[0]
    assert not KnownLogits(compared.predictions, "another").copy(model, [], Path())
    cache_digest = open_artifact(compared.cache, "cache").digest
    assert KnownLogits(compared.predictions, cache_digest).copy(model, [], Path())
    other = model.model_copy(update={"weights": ("0" * 64,)})
    assert not KnownLogits(compared.predictions, cache_digest).copy(other, [], Path())


def test_soups_of_other_trials_are_refused(compared: Compared, tmp_path: Path) -> None:
    trials = tmp_path / "trials"
    shutil.copytree(compared.root / "trials", trials)
    trial = plan_trials(compared.config.sweep)[0]
    shutil.rmtree(trials / trial.name)
    settings = compared.config.model_dump(mode="json")
    settings["train"] |= {"steps": 4}
    shorter = train.Params.for_trial(Config.model_validate(settings), trial)
    train.run(compared.cache, compared.init, trials / trial.name, shorter, trial, "cpu")
    with pytest.raises(ArtifactError, match="found some of another trial of that name; run `oodtune combine` again"):
        compared.evaluate(tmp_path / "predictions", trials)


def test_the_weights_of_a_trajectory_ensemble_are_found(compared: Compared) -> None:
    predictions = open_predictions(compared.predictions)
    model = next(one for one in predictions.models if one.row == "plain_trajectory_ensemble")
    source = find_weights(model, [compared.root / "trials"], compared.soups)
    assert [path.name for path in source.weights] == [
        "000000002.safetensors",
        "000000004.safetensors",
        "000000006.safetensors",
    ]
    assert len(source.inputs) == 1
