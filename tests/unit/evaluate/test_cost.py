import pytest

from oodtune.evaluate.cost import Measured, Training, energy_in_words, row_costs, time_in_words, total_cost
from oodtune.evaluate.predictions import Model
from tests.fixtures.reporting import RATES, make_models

TRIALS = {"a-0": Training(100, 1600), "a-1": Training(100, 1600)}
FAST, SLOW = Measured(10.0, 1600, 500.0, "GPU"), Measured(30.0, 1600, None, "CPU, 2 threads")
TIMED = {"a-0": Training(100, 1600, FAST), "a-1": Training(100, 1600, SLOW), "a-2": Training(100, 1600)}


def model(kind: str, *members: str, num_bytes: int = 2_000_000) -> Model:
    return Model.model_validate(
        {"target_domain": "a", "name": members[0] if kind == "trial" else kind, "kind": kind, "row": kind}
        | {"members": members if kind != "trial" else (), "num_bytes": num_bytes}
    )


def test_an_average_took_all_its_trials_and_answers_with_one_network():
    (cost,) = row_costs([model("soup", "a-0", "a-1")], TRIALS)
    assert (cost.trials, cost.steps, cost.num_images, cost.networks, cost.megabytes) == (2, 200, 3200, 1, 2.0)


def test_an_ensemble_answers_with_all_its_members():
    (cost,) = row_costs([model("ensemble", "a-0", "a-1")], TRIALS)
    assert (cost.trials, cost.networks) == (2, 2)


def test_states_of_one_trial_took_one_training():
    (cost,) = row_costs([model("soup", "a-0@50", "a-0@100")], TRIALS)
    assert (cost.trials, cost.steps) == (1, 100)


def test_a_row_shows_the_mean_of_its_models_and_no_size_where_none_was_stored():
    costs = row_costs([model("trial", "a-0", num_bytes=0), model("trial", "a-1")], TRIALS)
    assert costs[0].steps == pytest.approx(100)
    assert costs[0].megabytes is None


def test_rows_come_in_the_order_of_the_table():
    costs = row_costs(make_models(methods=RATES), {})
    kinds = {one.row: one.kind for one in make_models(methods=RATES)}
    order = [kinds[cost.row] for cost in costs]
    assert order == sorted(order, key=["trial", "soup", "ensemble"].index)


def test_time_is_the_mean_of_the_trials_that_recorded_it():
    for row in (
        [model("trial", "a-0"), model("trial", "a-1"), model("trial", "a-2")],
        [model("soup", "a-0", "a-1", "a-2")],
    ):
        (cost,) = row_costs(row, TIMED)
        assert (cost.seconds, cost.images_per_s, cost.joules) == (20.0, 80.0, 500.0)


def test_a_row_of_trials_that_recorded_nothing_has_no_time():
    (cost,) = row_costs([model("trial", "a-2")], TIMED)
    assert (cost.seconds, cost.images_per_s, cost.joules) == (None, None, None)


def test_the_total_counts_every_trial_once_and_says_which_are_not_in_it():
    total = total_cost(TIMED.values())
    assert (total.trials, total.recorded, total.seconds) == (3, 2, 40.0)
    assert (
        total.in_words == "2 of 3 trials took 40.0 s in all, on CPU, 2 threads; GPU. Of the others it was not recorded."
    )
    assert total_cost([TIMED["a-0"]]).in_words == "1 trial took 10.0 s and 0.139 Wh in all, on GPU."
    assert "not recorded" in total_cost(TRIALS.values()).in_words


def test_an_energy_that_one_trial_does_not_know_has_no_total():
    assert total_cost(TIMED.values()).joules is None
    assert total_cost([TIMED["a-0"], TIMED["a-0"]]).joules == 1000.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.9, "1 h 00 min"), (48_030.0, "13 h 20 min")],
)
def test_a_time_has_its_units(seconds: float, words: str):
    assert time_in_words(seconds) == words


@pytest.mark.parametrize(
    ("joules", "words"), [(3600.0, "1 Wh"), (443_000.0, "123 Wh"), (3_599_000.0, "1,000 Wh"), (9e6, "2.50 kWh")]
)
def test_an_energy_has_its_units(joules: float, words: str):
    assert energy_in_words(joules) == words
