"""The choice as a pipeline branches on it, and the trials that it hands to export."""

from pathlib import Path

import pytest

from oodtune.artifact import open_artifact
from oodtune.config import SelectConfig
from oodtune.errors import ArtifactError, SelectionError
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.predictions import Model
from oodtune.reference import read_reference, write_reference
from oodtune.stages import export, gate, select
from oodtune.stages.failures import record_failure
from oodtune.stages.model_weights import find_weights
from tests.fixtures.reporting import Inputs, write_inputs
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")

DOMAINS = ("red", "green", "blue")
TARGET = "blue"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("gate"), DOMAINS, seeds=(0, 1), num_images=60)


def settings(**changes: object) -> select.Params:
    return select.Params(select=SelectConfig.model_validate({"target_domain": TARGET, **changes}))


def decide(inputs: Inputs, directory: Path, **changes: object) -> bool:
    trials = inputs.trials
    return gate.run(inputs.predictions, trials, directory / "selection", directory / "members", settings(**changes))


def choice_of(directory: Path) -> Choice:
    return Choice.model_validate_json((directory / "selection" / "selection.json").read_bytes())


def names(members: Path) -> list[str]:
    return sorted(path.name for path in members.iterdir() if path.is_dir())


def test_what_may_ship_is_the_selection_that_select_writes(inputs: Inputs, tmp_path: Path) -> None:
    assert decide(inputs, tmp_path) is True
    select.run(inputs.predictions, tmp_path / "selected", settings())
    digests = [open_artifact(tmp_path / name, "selection").digest for name in ("selection", "selected")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"min_iid": 0.999}, "select.min_iid"),
        ({"min_margin": 50.0}, "select.min_margin"),
        ({"kinds": ["ensemble"], "max_networks": 1}, "select.max_networks"),
    ],
)
def test_what_misses_a_limit_is_refused_and_says_why(
    limits: dict[str, object], why: str, inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decide(inputs, tmp_path, **limits) is False
    choice = choice_of(tmp_path)
    assert choice.refused is not None
    assert why in choice.refused
    assert f"refused: {choice.refused}" in capsys.readouterr().err
    with pytest.raises(SelectionError) as caught:
        select.run(inputs.predictions, tmp_path / "selected", settings(**limits))
    assert str(caught.value) == choice.refused
    assert (tmp_path / "selection" / "selection.md").read_text().startswith("# Refused: ")


@pytest.mark.parametrize(
    "limits", [{"min_iid": 0.1}, {"min_margin": -5.0}, {"kinds": ["trial", "soup"], "max_networks": 1}]
)
def test_what_meets_a_limit_is_let_through(limits: dict[str, object], inputs: Inputs, tmp_path: Path) -> None:
    assert decide(inputs, tmp_path, **limits) is True
    assert choice_of(tmp_path).refused is None


def test_export_is_handed_the_one_trial_that_won(inputs: Inputs, tmp_path: Path) -> None:
    decide(inputs, tmp_path, kinds=["trial"])
    winner = choice_of(tmp_path).winner.name
    assert names(tmp_path / "members") == [winner]
    copied, original = (
        open_artifact(path / winner, "trial") for path in (tmp_path / "members", inputs.trials[0].parent)
    )
    assert copied.digest == original.digest


def test_export_is_handed_all_members_of_an_ensemble(inputs: Inputs, tmp_path: Path) -> None:
    decide(inputs, tmp_path, kinds=["ensemble"])
    winner = choice_of(tmp_path).winner
    assert len(winner.members) == 4
    assert names(tmp_path / "members") == sorted(winner.members)


def test_a_soup_needs_no_trials(inputs: Inputs, tmp_path: Path) -> None:
    decide(inputs, tmp_path, kinds=["soup"])
    assert names(tmp_path / "members") == []


def test_trials_on_a_shared_volume_are_handed_on_as_references(inputs: Inputs, tmp_path: Path) -> None:
    tasks = []
    for number, trial in enumerate(inputs.trials):
        tasks.append(tmp_path / "tasks" / str(number))
        write_reference(tasks[-1], trial, open_artifact(trial, "trial").digest)
    record_failure(tmp_path / "tasks" / "failed", "blue-plain-lr1.0", "the loss is not finite")
    tasks.append(tmp_path / "tasks" / "failed")
    params = settings(kinds=["ensemble"])
    assert gate.run(inputs.predictions, tasks, tmp_path / "selection", tmp_path / "members", params)
    members = choice_of(tmp_path).winner.members
    assert names(tmp_path / "members") == sorted(members)
    for name in members:
        referred = read_reference(tmp_path / "members" / name)
        assert referred is not None
        assert referred.path == inputs.trials[0].parent / name
        assert [path.name for path in (tmp_path / "members" / name).iterdir()] == ["reference.json"]


def choose_from_road(road: Road, directory: Path, kind: str) -> Model:
    params = select.Params(select=road.config.select.model_copy(update={"kinds": (kind,)}))
    trials = [road.directory / "trials"]
    assert gate.run(road.predictions, trials, directory / "selection", directory / "members", params)
    return choice_of(directory).winner


@pytest.mark.parametrize(("kind", "count"), [("trial", 1), ("soup", 0)])
def test_the_weights_of_the_choice_are_found_by_the_members_alone(
    kind: str, count: int, road: Road, tmp_path: Path
) -> None:
    winner = choose_from_road(road, tmp_path, kind)
    assert len(names(tmp_path / "members")) == count
    by_members, by_all = (find_weights(winner, paths, road.soups) for paths in ([tmp_path / "members"], road.trials))
    assert [path.read_bytes() for path in by_members.weights] == [path.read_bytes() for path in by_all.weights]


def test_an_ensemble_is_exported_from_the_members_alone(road: Road, tmp_path: Path) -> None:
    winner = choose_from_road(road, tmp_path, "ensemble")
    assert names(tmp_path / "members") == sorted(winner.members)
    export.run(
        road.cache,
        [tmp_path / "members"],
        road.soups,
        road.predictions,
        tmp_path / "selection",
        tmp_path / "bundle",
        export.Params.from_config(road.config),
        commit="",
    )
    bundle = open_artifact(tmp_path / "bundle", "bundle")
    assert bundle.details["winner"]["name"] == winner.name
    assert set(winner.members) <= set(bundle.manifest.inputs)


def test_export_takes_no_refused_selection(road: Road, tmp_path: Path) -> None:
    config = road.config.select.model_copy(update={"min_iid": 1.0})
    params = select.Params(select=config)
    assert not gate.run(road.predictions, road.trials, tmp_path / "selection", tmp_path / "members", params)
    with pytest.raises(SelectionError, match=r"a choice that may ship, found one that was refused: select\.min_iid"):
        export.run(
            road.cache,
            [tmp_path / "members"],
            road.soups,
            road.predictions,
            tmp_path / "selection",
            tmp_path / "bundle",
            export.Params.from_config(road.config),
        )
    assert not (tmp_path / "bundle").exists()


def test_a_target_that_nothing_was_trained_for_is_an_error_and_no_refusal(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected models for target domain 'mauve'"):
        decide(inputs, tmp_path, target_domain="mauve")
    assert not (tmp_path / "selection").exists()
