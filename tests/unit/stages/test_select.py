from pathlib import Path

import pytest
from pydantic import ValidationError

from oodtune.artifact import open_artifact
from oodtune.config import ExportConfig, SelectConfig
from oodtune.errors import ArtifactError, SelectionError
from oodtune.evaluate.choice import Choice
from oodtune.stages import export, select
from tests.fixtures.choosing import DOMAINS, PAIRS, TARGET, make_model, make_score, write_predictions
from tests.fixtures.small_cache import write_cache

SEEDS = (0, 1)
OUT = {"plain": (0.90, 0.875), "large": (0.85, 0.825)}
OOD = {"plain": (0.50, 0.50), "large": (0.60, 0.65)}


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two methods on four targets and on the pairs with one of them, and an ensemble each."""
    scores = [
        make_score(make_model(row, target, seed), OUT[row][seed], OOD[row][seed])
        for target in (*DOMAINS, *PAIRS)
        for row in OUT
        for seed in SEEDS
    ]
    ensemble = {"seed": None, "kind": "ensemble", "members": ("a", "b"), "num_bytes": 8_000_000}
    scores += [make_score(make_model("logit_ensemble", target, **ensemble), 0.95, 0.55) for target in DOMAINS]
    return write_predictions(tmp_path_factory.mktemp("choosing") / "predictions", scores)


def choose(predictions: Path, out: Path, **settings: object) -> Choice:
    config = SelectConfig.model_validate({"target_domain": TARGET, **settings})
    select.run(predictions, out, select.Params(select=config))
    return Choice.model_validate_json((out / "selection.json").read_bytes())


def test_the_default_rule_picks_for_every_single_target_and_for_no_pair(predictions: Path, tmp_path: Path) -> None:
    choice = choose(predictions, tmp_path / "selection")
    assert (choice.winner.row, choice.winner.target_domain) == ("logit_ensemble", TARGET)
    assert set(choice.picks) == set(DOMAINS)
    assert {pick.row for pick in choice.picks.values()} == {"logit_ensemble"}
    assert choice.scored_on == ("clay", "ink", "oil")


def test_leaving_out_source_domains_picks_what_does_better_there(predictions: Path, tmp_path: Path) -> None:
    choice = choose(predictions, tmp_path / "selection", rule="leave_one_source_domain_out")
    assert choice.winner.name == "wax-large-seed0"  # the better of its seeds by iid accuracy
    assert choice.recipe == "large lr0.001 wd0.0"
    assert choice.candidates[0].seen == pytest.approx(0.625)
    assert choice.margin is not None
    assert (choice.margin.difference.mean, choice.margin.difference.n) == (pytest.approx(12.5), 6)
    assert set(choice.picks) == set(DOMAINS)
    assert choice.picks["ink"].scored_on == (TARGET,)
    assert any("could not be ranked" in reason for reason in choice.reasons)  # no ensembles of the pairs
    assert any("pick for ink had only wax to go by" in reason for reason in choice.reasons)


def test_the_candidates_are_ranked_as_the_rule_saw_them(predictions: Path, tmp_path: Path) -> None:
    choice = choose(predictions, tmp_path / "selection", max_networks=1)
    assert [(one.row, one.kept_out_by) for one in choice.candidates] == [
        ("logit_ensemble", "max_networks"),
        ("plain", None),
        ("plain", None),
        ("large", None),
        ("large", None),
    ]
    assert [one.seen for one in choice.candidates] == pytest.approx([0.95, 0.9, 0.875, 0.85, 0.825])
    assert choice.winner.name == choice.picks[TARGET].name == "wax-plain-seed0"


def test_fixed_picks_from_its_row(predictions: Path, tmp_path: Path) -> None:
    choice = choose(predictions, tmp_path / "selection", rule="fixed", row="large")
    assert choice.winner.name == "wax-large-seed0"
    assert {one.row for one in choice.candidates} == {"large"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ["soup"]}, "select.kinds: expected a model of kind soup"),
        ({"max_networks": 1, "kinds": ["ensemble"]}, "select.max_networks: .* 1 too many"),
        ({"max_megabytes": 3.0}, r"select.max_megabytes: .* 1\.00 too many"),
        ({"min_iid": 0.97}, r"select.min_iid: .* 2\.00 points short"),
        ({"kinds": ["trial"], "min_margin": 0.5}, r"select.min_margin: .* found \+0\.00"),
        ({"min_margin": 10.0}, r"select.min_margin: .* found \+6\.25 .* 3\.75 short"),
        ({"min_margin": 5.0, "margin_level": 0.95}, "has no interval"),  # an ensemble of all seeds: n = 1
        ({"min_margin": 1.0, "baseline": "sma"}, "no recipe of row 'sma'"),
        (
            {"rule": "leave_one_source_domain_out", "min_margin": 12.0, "margin_level": 0.95},
            "at the lower end of the 95% interval",
        ),
    ],
)
def test_every_constraint_refuses_and_leaves_no_selection(
    settings: dict[str, object], message: str, predictions: Path, tmp_path: Path
) -> None:
    with pytest.raises(SelectionError, match=message):
        choose(predictions, tmp_path / "selection", **settings)
    assert not (tmp_path / "selection").exists()


def test_a_gain_whose_interval_clears_the_margin_is_let_through(predictions: Path, tmp_path: Path) -> None:
    settings = {"rule": "leave_one_source_domain_out", "min_margin": 5.0, "margin_level": 0.95}
    choice = choose(predictions, tmp_path / "selection", **settings)
    assert choice.constraints["min_margin"] == 5.0
    assert any("asked for was +5.00 points at least, by the lower end" in reason for reason in choice.reasons)


def test_a_target_that_does_not_ship_may_stay_without_a_pick(tmp_path: Path) -> None:
    scores = [make_score(make_model("plain", target), 0.9 if target == TARGET else 0.6) for target in DOMAINS]
    written = write_predictions(tmp_path / "predictions", scores)
    choice = choose(written, tmp_path / "selection", min_iid=0.8)
    assert set(choice.picks) == {TARGET}
    assert sum(reason.startswith("No pick for") for reason in choice.reasons) == 3


def test_an_unknown_target_is_named_and_a_pair_is_none(tmp_path: Path) -> None:
    written = write_predictions(tmp_path / "predictions", [make_score(make_model("plain", PAIRS[0]), 0.9)])
    with pytest.raises(ArtifactError, match="expected models for target domain 'wax', found only \\[\\]"):
        choose(written, tmp_path / "selection")


def test_the_text_says_what_the_numbers_say(predictions: Path, tmp_path: Path) -> None:
    choice = choose(predictions, tmp_path / "selection")
    text = (tmp_path / "selection" / "selection.md").read_text()
    assert text.startswith(f"# Chosen without wax: `{choice.winner.name}`")
    assert all(reason in text for reason in choice.reasons)


def test_equal_predictions_and_settings_give_equal_bytes(predictions: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        choose(predictions, tmp_path / name, rule="leave_one_source_domain_out")
    assert open_artifact(tmp_path / "one", "selection").digest == open_artifact(tmp_path / "two", "selection").digest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "fixed"}, "expected the row to pick with rule fixed"),
        ({"row": "plain"}, "null with any other; found 'plain'"),
        ({"margin_level": 0.95}, "expected a min_margin"),
        ({"kinds": ["trial", "trial"]}, "names a kind twice"),
        ({"kinds": []}, "at least 1 item"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SelectConfig.model_validate({"target_domain": TARGET, **settings})


def test_what_the_oracle_picked_says_so_and_is_exported_only_by_force(predictions: Path, tmp_path: Path) -> None:
    choice = choose(predictions, tmp_path / "selection", rule="oracle")
    assert (choice.winner.name, choice.is_ceiling) == ("wax-large-seed1", True)
    assert "ceiling" in choice.reasons[0]
    assert (tmp_path / "selection" / "selection.md").read_text().startswith("# Ceiling for wax")
    cache = write_cache(tmp_path)

    def ship(allow_oracle: bool) -> None:
        params = export.Params(export=ExportConfig(allow_oracle=allow_oracle))
        paths = (
            cache,
            [tmp_path / "trials"],
            tmp_path / "soups",
            predictions,
            tmp_path / "selection",
            tmp_path / "bundle",
        )
        export.run(*paths, params)

    with pytest.raises(SelectionError, match=r"a look at wax, found the oracle's, .* export\.allow_oracle to true"):
        ship(allow_oracle=False)
    with pytest.raises(ArtifactError, match="trials: expected"):  # past the gate: none was made
        ship(allow_oracle=True)
    assert not (tmp_path / "bundle").exists()
