import io
from math import sqrt

import pytest
from rich.console import Console

from oodtune.evaluate.predictions import Model
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import GROUPS, SELECTED, Cell, LodoTable, lodo_table, spread
from tests.fixtures.reporting import RATES, make_picks, make_scores


def score(target: str, row: str, seed: int | None, iid: float, ood: float, *, setting: str = "") -> Score:
    name = f"{target}-{row}{setting}-seed{seed}"
    model = Model(target_domain=target, name=name, kind="trial", row=row, seed=seed)
    return Score(model, iid=iid, ood=ood, per_domain={}, out_accuracy=iid)


def cell(table: LodoTable, row: str, target: str | None) -> Cell:
    found = table.row(row)
    assert found is not None
    value = found.mean if target is None else found.cells[target]
    assert value is not None
    return value


def test_a_cell_is_the_mean_over_seeds_in_percent_with_its_sample_standard_error():
    table = lodo_table([score("a", "plain", 0, 0.8, 0.60), score("a", "plain", 1, 0.9, 0.64)], {})
    found = cell(table, "plain", "a")
    assert found.iid.mean == pytest.approx(85.0)
    assert found.ood.mean == pytest.approx(62.0)
    assert found.ood.standard_error == pytest.approx(sqrt(8.0) / sqrt(2.0))
    assert found.ood.n == 2


def test_one_seed_has_no_spread():
    found = cell(lodo_table([score("a", "plain", 0, 0.8, 0.6)], {}), "plain", "a")
    assert (found.ood.standard_error, found.ood.n, spread(found.ood)) == (None, 1, "")


def test_settings_of_one_seed_count_as_one_repeat():
    scores = [score("a", "plain", 0, 0.8, ood, setting=setting) for setting, ood in (("x", 0.5), ("y", 0.7))]
    found = cell(lodo_table([*scores, score("a", "plain", 1, 0.8, 0.62)], {}), "plain", "a")
    assert found.ood.n == 2
    assert found.ood.mean == pytest.approx(61.0)


def test_the_mean_over_targets_has_the_spread_of_the_seeds_means():
    values = {("a", 0): 0.6, ("a", 1): 0.7, ("b", 0): 0.4, ("b", 1): 0.3}
    table = lodo_table([score(target, "plain", seed, 0.8, ood) for (target, seed), ood in values.items()], {})
    mean = cell(table, "plain", None).ood
    assert mean.mean == pytest.approx(50.0)
    assert mean.standard_error == pytest.approx(0.0, abs=1e-9)  # what one target gained, the other lost


def test_a_mean_over_targets_with_different_seeds_shows_no_spread():
    scores = [score("a", "plain", seed, 0.8, 0.6) for seed in (0, 1)]
    mean = cell(lodo_table([*scores, score("b", "plain", 0, 0.8, 0.4)], {}), "plain", None).ood
    assert (mean.mean, mean.standard_error, mean.n) == (pytest.approx(50.0), None, 1)


def test_a_domain_that_was_not_scored_is_missing_and_so_is_the_mean():
    table = lodo_table([score("a", "plain", 0, 0.8, 0.6), score("b", "other", 0, 0.8, 0.6)], {})
    row = table.row("plain")
    assert row is not None
    assert set(row.cells) == {"a"}
    assert row.mean is None
    assert "| plain | 80.0 / **60.0**\\* | – | – | 1 |" in table.to_markdown()  # noqa: RUF001


def test_the_last_row_is_what_the_rule_picked():
    scores = make_scores()
    picks = make_picks(scores)
    table = lodo_table(scores, picks)
    assert [row.name for row in table.rows] == [
        "plain",
        "large_dropout",
        "uniform_soup",
        "logit_ensemble",
        SELECTED,
    ]
    assert cell(table, SELECTED, "line").ood.mean == pytest.approx(100.0 * float(str(picks["line"]["ood"])))


def test_models_that_print_alike_share_the_mark_of_the_best():
    scores = [score("a", row, 0, 0.8, ood) for row, ood in (("x", 0.6001), ("y", 0.6002), ("z", 0.5))]
    assert lodo_table(scores, {}).best("a") == {"x", "y"}


def test_the_best_is_starred_where_there_is_neither_colour_nor_bold():
    console = Console(width=100, color_system=None, file=io.StringIO(), record=True)
    scores = [score("a", "x", 0, 0.8, 0.6), score("a", "y", 0, 0.8, 0.5)]
    console.print(lodo_table(scores, {}).to_rich())
    text = console.export_text()
    assert "80.0/60.0*" in text
    assert "50.0*" not in text


def test_the_demo_table_fits_a_terminal_of_80_columns():
    console = Console(width=80, color_system=None, file=io.StringIO(), record=True)
    scores = make_scores(seeds=(0, 1, 2))
    console.print(lodo_table(scores, make_picks(scores)).to_rich())
    lines = console.export_text().splitlines()
    assert len(lines) == 2 + 5 + 2  # heading and rule, five rows, a line of spreads for two of them


def test_markdown_says_what_its_numbers_mean():
    text = lodo_table(make_scores(seeds=(0, 1)), {}).to_markdown()
    for words in (
        "in %",
        "out-splits",
        "snapshot",
        "sample standard error",
        "all images of the target domain",
    ):
        assert words in text


def test_rows_are_grouped_by_what_answers():
    scores = make_scores(seeds=(0, 1), methods=RATES)
    table = lodo_table(scores, make_picks(scores))
    groups = {title: [row.name for row in rows] for title, rows in table.groups.items()}
    assert list(groups) == list(GROUPS.values())
    assert groups[GROUPS["trial"]] == list(RATES)
    assert "large_dropout_trajectory_soup" in groups[GROUPS["soup"]]
    assert groups[GROUPS["ensemble"]][0] == "logit_ensemble"
    assert [row for rows in table.groups.values() for row in rows] == list(table.rows)
    assert "| **Ensembles, several networks** |" in table.to_markdown()


def test_a_row_that_was_chosen_on_the_target_is_called_a_ceiling():
    scores = make_scores()
    assert "so it is a ceiling" in lodo_table(scores, make_picks(scores), is_ceiling=True).caption
    assert "which no training or choice has seen. n: seeds" in lodo_table(scores, make_picks(scores)).caption


def test_a_table_survives_json():
    table = lodo_table(make_scores(seeds=(0, 1)), {})
    assert LodoTable.model_validate_json(table.model_dump_json()) == table
