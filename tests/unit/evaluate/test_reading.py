from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from oodtune.combine.members import member_curve
from oodtune.evaluate import predictions as storage
from oodtune.evaluate.calibration import expected_calibration_error
from oodtune.evaluate.metrics import Logits
from oodtune.evaluate.outcomes import judge
from oodtune.evaluate.predictions import Predictions, open_predictions
from oodtune.evaluate.reading import Reading, read_everything
from oodtune.evaluate.results import pool
from oodtune.evaluate.scores import score_models
from tests.fixtures.reporting import write_inputs

DOMAINS = ("red", "green", "blue")


def curve_of(logits: Mapping[str, Logits], score: Callable[[Logits], float], num: int) -> list[tuple[int, float]]:
    return [(one.size, one.mean) for one in member_curve(logits, score, num, seed=0)]


def read(predictions: Predictions, row: str = "large_dropout") -> Reading:
    winner = next(model for model in predictions.models if (model.target_domain, model.row) == ("blue", row))
    return read_everything(predictions, winner, 1.5, curve_of)


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    inputs = write_inputs(tmp_path_factory.mktemp("inputs"), DOMAINS, seeds=(0, 1), num_images=60)
    return open_predictions(inputs.predictions)


@pytest.fixture(scope="module")
def reading(predictions: Predictions) -> Reading:
    return read(predictions)


def test_every_file_of_logits_is_read_once(predictions: Predictions, monkeypatch: pytest.MonkeyPatch):
    opened: Counter[str] = Counter()
    load = np.load

    def counting(path: Path, **options: bool) -> Logits:
        opened[Path(path).relative_to(predictions.artifact.path).as_posix()] += 1
        array: Logits = load(path, **options)
        return array

    monkeypatch.setattr(storage.np, "load", counting)
    read(predictions)
    assert opened == Counter(name for name in predictions.artifact.manifest.files if name.startswith("logits/"))


def test_scores_are_those_that_selection_saw(predictions: Predictions, reading: Reading):
    for found, wanted in zip(reading.scores, score_models(predictions), strict=True):
        assert found.model == wanted.model
        assert (found.iid, found.ood, found.out_accuracy) == pytest.approx(
            (wanted.iid, wanted.ood, wanted.out_accuracy)
        )
        assert found.per_domain == pytest.approx(wanted.per_domain)


def test_the_winner_keeps_the_temperature_it_is_served_with(reading: Reading):
    assert reading.winner.temperature == 1.5
    assert len({one.temperature for one in reading.results}) == len(reading.results)


def test_measures_are_those_of_the_stored_logits(predictions: Predictions, reading: Reading):
    model, found = reading.winner.model, reading.winner.domains["red"]
    outcomes = judge(predictions.logits(model, "red", "out"), predictions.labels("red", "out"), 1.5)
    assert found.split == "out"
    assert found.num_images == len(outcomes.labels)
    assert found.ece == expected_calibration_error(outcomes)
    assert found.nll == outcomes.negative_log_likelihood
    assert found.nll_raw != found.nll
    assert reading.winner.target.split == "all"
    assert reading.winner.target.num_images == 60


def test_ids_are_those_of_the_judged_images(predictions: Predictions, reading: Reading):
    labels = reading.judged["blue"].raw.labels
    assert [predictions.classes[label] for label in labels] == [name.split("/")[1] for name in reading.target_ids]


def test_the_baseline_is_plain_on_the_target_of_the_winner(predictions: Predictions, reading: Reading):
    assert {(one.model.row, one.model.target_domain) for one in reading.baseline} == {("plain", "blue")}
    assert len(reading.baseline) == 2
    assert read(predictions, "plain").baseline == []


def test_member_curves_start_at_the_mean_of_single_trials_and_end_at_the_ensemble(reading: Reading):
    scores = [score for score in reading.scores if score.model.target_domain == "blue"]
    singles = [score for score in scores if score.model.kind == "trial"]
    curves = next(one for one in reading.members if one.target == "blue")
    assert [size for size, _ in curves.ood] == [1, 2, 3, 4]
    assert curves.ood[0][1] == pytest.approx(sum(score.ood for score in singles) / 4)
    assert curves.iid[0][1] == pytest.approx(sum(score.iid for score in singles) / 4)
    assert curves.stride == 1


def test_pooled_outcomes_are_those_of_all_examples(predictions: Predictions, reading: Reading):
    parts = [reading.judged[domain].raw for domain in ("red", "green")]
    pooled = pool(parts)
    assert len(pooled.labels) == sum(len(part.labels) for part in parts)
    assert pooled.correct.sum() == sum(part.correct.sum() for part in parts)
