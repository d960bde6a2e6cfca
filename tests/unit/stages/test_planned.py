"""One trial as a task of a cluster trains it, on the artifacts of a tiny sweep."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oodtune.artifact import MANIFEST, open_artifact
from oodtune.cli.main import app
from oodtune.config import SweepConfig
from oodtune.errors import ArtifactError
from oodtune.reference import read_reference
from oodtune.stages import combine, plan, planned, train
from oodtune.stages.failures import recorded_failures
from oodtune.stages.planned import PlannedTrial
from tests.fixtures.tiny_sweep import tiny_settings, write_settings
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")

TOO_FAST = 1e30


@dataclass
class Metrics:
    logged: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, value: float) -> None:
        self.logged[name] = value


def item_of(road: Road, **changes: object) -> PlannedTrial:
    """Return the plan's first trial, with single settings of the trial changed."""
    first = PlannedTrial.from_json(plan.run(plan.Params.from_config(road.config))[0])
    return first.model_copy(update={"trial": first.trial.model_copy(update=changes)})


def read_files(trial: Path) -> dict[str, bytes]:
    artifact = open_artifact(trial, "trial")
    return {name: (artifact.path / name).read_bytes() for name in (MANIFEST, *artifact.manifest.files)}


def test_the_plan_holds_every_trial_with_its_own_settings(road: Road) -> None:
    items = [PlannedTrial.from_json(text) for text in plan.run(plan.Params.from_config(road.config))]
    assert [item.trial.name for item in items] == [path.name for path in road.trials]
    assert [item.params.method for item in items] == [road.config.methods[item.trial.method] for item in items]


def test_a_planned_trial_is_byte_for_byte_that_of_the_command_line(road: Road, tmp_path: Path) -> None:
    item = item_of(road)
    write_settings(tmp_path / "params.yaml", tiny_settings(road.directory))
    arguments = {
        "params": tmp_path / "params.yaml",
        "cache": road.cache,
        "init": road.init,
        "out": tmp_path / "told",
        **{name.replace("_", "-"): value for name, value in item.trial.model_dump().items()},
    }
    flags = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    told = CliRunner().invoke(app, ["train", *flags])
    assert told.exit_code == 0, told.output
    metrics = Metrics()
    planned.run(road.cache, road.init, tmp_path / "planned", item.to_json(), metrics=metrics)
    assert read_files(tmp_path / "planned") == read_files(tmp_path / "told")
    details = open_artifact(tmp_path / "told", "trial").details
    assert metrics.logged == {
        "failed": 0.0,
        "source_out_split_accuracy": details["source_accuracy"],
        "best_step": details["best_step"],
    }


class KilledError(Exception):
    """Ends a task as the loss of its machine does."""


def kill_at_4(done: int, total: int, what: str) -> None:
    if done == 4:
        raise KilledError


def test_a_killed_task_is_gone_on_with_from_its_checkpoint_by_the_next(
    road: Road, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    item = item_of(road)
    item = item.model_copy(
        update={
            "params": item.params.model_copy(
                update={"train": item.params.train.model_copy(update={"checkpoint_every": 2})}
            )
        }
    )
    paths = (road.cache, road.init, tmp_path / "out")

    def die(place: Path) -> None:
        train.run(road.cache, road.init, place, item.params, item.trial, "cpu", kill_at_4)

    with pytest.raises(KilledError):
        planned.keep_trial(item, *paths, tmp_path / "volume", Metrics(), die)
    assert not (tmp_path / "out").exists()
    capfd.readouterr()
    planned.run(*paths, item.to_json(), tmp_path / "volume")
    assert "goes on after step 2" in capfd.readouterr().err
    train.run(road.cache, road.init, tmp_path / "whole", item.params, item.trial, "cpu")
    assert read_files(tmp_path / "out") == read_files(tmp_path / "whole")
    planned.run(road.cache, road.init, tmp_path / "later", item.to_json(), tmp_path / "volume")
    assert read_reference(tmp_path / "later") == read_reference(tmp_path / "out")


def test_other_inputs_are_trained_anew_on_the_volume(road: Road, tmp_path: Path) -> None:
    item, made = item_of(road), []

    def make(place: Path) -> None:
        made.append(place)
        train.run(road.cache, road.init, place, item.params, item.trial, "cpu")

    other = item_of(road, seed=5)
    for one in (item, other, item):
        planned.keep_trial(one, road.cache, road.init, tmp_path / "out", tmp_path / "volume", Metrics(), make)
    assert [path.name.rpartition("-")[0] for path in made] == [item.trial.name, other.trial.name]


@pytest.fixture(scope="module")
def failed(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a trial that diverges leaves."""
    out, metrics = tmp_path_factory.mktemp("failed") / "out", Metrics()
    planned.run(road.cache, road.init, out, item_of(road, learning_rate=TOO_FAST).to_json(), metrics=metrics)
    assert metrics.logged == {"failed": 1.0}
    return out


def test_a_trial_that_diverges_leaves_its_reason_and_no_weights(road: Road, failed: Path) -> None:
    assert [path.name for path in failed.iterdir()] == ["failure.json"]
    ((name, reason),) = recorded_failures([failed]).items()
    assert name == item_of(road, learning_rate=TOO_FAST).trial.name
    assert "loss" in reason
    assert "\n" not in reason


def sweep_of(road: Road, *rates: float) -> combine.Params:
    trial = item_of(road).trial
    values = {"target_domains": (trial.target_domain,), "methods": (trial.method,), "learning_rates": rates}
    sweep = SweepConfig.model_validate({**road.config.sweep.model_dump(), **values})
    return combine.Params(sweep=sweep, combine=road.config.combine)


def test_the_rest_is_combined_and_a_warning_names_the_trial_and_its_reason(
    road: Road, failed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = sweep_of(road, item_of(road).trial.learning_rate, TOO_FAST)
    combine.run(road.cache, road.init, [failed, road.trials[0]], tmp_path / "soups", params)
    ((name, reason),) = recorded_failures([failed]).items()
    assert open_artifact(tmp_path / "soups", "soup").details["missing"] == [name]
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert f"1 of 2 planned trials are missing: {name} (1 failed: {name}: {reason})" in warning


def test_a_target_whose_trials_all_failed_is_one_line_with_the_reason(road: Road, failed: Path, tmp_path: Path) -> None:
    (reason,) = recorded_failures([failed]).values()
    with pytest.raises(ArtifactError, match="found 0 of 1 trials and none for") as caught:
        combine.run(road.cache, road.init, [failed], tmp_path / "soups", sweep_of(road, TOO_FAST))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_signal_ends_the_task_as_it_ends_the_command(
    road: Road, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item, metrics = item_of(road), Metrics()

    def stop_at_3(done: int, total: int, what: str) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    def make(place: Path) -> None:
        train.run(road.cache, road.init, place, item.params, item.trial, "cpu", stop_at_3)

    with pytest.raises(SystemExit) as caught:
        planned.keep_trial(item, road.cache, road.init, tmp_path / "out", tmp_path / "volume", metrics, make)
    assert caught.value.code == 128 + signal.SIGTERM
    assert "stopped: SIGTERM after step" in capsys.readouterr().err
    assert (metrics.logged, recorded_failures([tmp_path / "out"])) == ({}, {})
