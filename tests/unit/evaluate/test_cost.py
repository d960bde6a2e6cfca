import pytest

from oodtune.evaluate.cost import Training, row_costs
from oodtune.evaluate.predictions import Model
from tests.fixtures.reporting import RATES, make_models

TRIALS = {"a-0": Training(100, 1600), "a-1": Training(100, 1600)}


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
