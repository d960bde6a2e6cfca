from math import sqrt

import pytest

from oodtune.evaluate.differences import Difference, DifferenceTable, between, difference_table, signed
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.scores import Score
from tests.fixtures.reporting import RATES, make_picks, make_scores


def score(target: str, row: str, seed: int | None, ood: float, *, setting: str = "", iid: float = 0.8) -> Score:
    kind = "trial" if seed is not None else "soup"
    model = Model(target_domain=target, name=f"{target}-{row}{setting}-{seed}", kind=kind, row=row, seed=seed)
    return Score(model, iid=iid, ood=ood, per_domain={}, out_accuracy=iid)


def row(table: DifferenceTable | None, name: str) -> Difference:
    assert table is not None
    return next(row for row in table.rows if row.name == name)


def test_a_difference_is_taken_within_target_and_seed():
    plain = [score("a", "plain", 0, 0.5), score("a", "plain", 1, 0.7), score("b", "plain", 0, 0.3)]
    other = [score("a", "other", 0, 0.52), score("a", "other", 1, 0.74), score("b", "other", 0, 0.36)]
    found = row(difference_table([*plain, *other], {}), "other")
    assert found.ood.mean == pytest.approx(4.0)
    assert found.ood.n == 3
    assert found.ood.standard_error == pytest.approx(2.0 / sqrt(3.0))
    assert found.by_target["a"].mean == pytest.approx(3.0)
    assert found.has_seeds


def test_runs_that_the_baseline_lacks_are_left_out():
    scores = [score("a", "plain", 0, 0.5), score("a", "other", 0, 0.6), score("a", "other", 7, 0.9)]
    assert row(difference_table(scores, {}), "other").ood.n == 1


def test_one_pair_has_no_interval_and_the_table_says_so():
    table = difference_table([score("a", "plain", 0, 0.5), score("a", "other", 0, 0.6)], {})
    assert row(table, "other").ood.interval is None
    assert table is not None
    assert "| other | +10.0 | **+10.0** | – | – | 0.0 | 1 |" in table.to_markdown()  # noqa: RUF001
    assert "One pair has no interval" in table.to_markdown()


def test_what_has_no_seed_is_compared_with_the_mean_of_the_seeds():
    plain = [score("a", "plain", 0, 0.5), score("a", "plain", 1, 0.7)]
    found = row(difference_table([*plain, score("a", "plain_soup", None, 0.65)], {}), "plain_soup")
    assert (found.ood.mean, found.ood.n, found.has_seeds) == (pytest.approx(5.0), 1, False)
    assert found.label == "plain soup †"


def test_the_picks_are_the_last_row():
    scores = make_scores(seeds=(0, 1), methods=RATES)
    table = difference_table(scores, make_picks(scores))
    assert table is not None
    assert table.rows[-1].name == "selected"
    assert "plain" not in {row.name for row in table.rows}


def test_without_plain_there_is_no_table():
    assert difference_table([score("a", "other", 0, 0.6)], {}) is None


def test_a_row_that_shares_no_domain_with_plain_is_absent():
    table = difference_table([score("a", "plain", 0, 0.5), score("b", "other", 0, 0.6)], {})
    assert table is not None
    assert table.rows == ()


def test_no_difference_has_no_sign():
    assert [signed(value) for value in (-0.04, 0.0, 1.0, -1.0)] == ["0.0", "0.0", "+1.0", "\N{MINUS SIGN}1.0"]


def test_an_interval_is_written_from_low_to_high():
    scores = [
        score("a", name, seed, 0.5 + 0.1 * seed * (name == "other")) for name in ("plain", "other") for seed in (0, 1)
    ]
    found = row(difference_table(scores, {}), "other")
    assert between(found.ood).endswith("to +68.5")  # 5 +- 12.7 * 5
