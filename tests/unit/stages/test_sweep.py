"""Where the trials of a sweep stand, and what the rest costs: on trials that training made. Processes: tests/e2e."""

import json
import shutil
from pathlib import Path

import pytest

from oodtune.artifact import open_artifact
from oodtune.config import Config
from oodtune.errors import ArtifactError, ConfigError, DataError
from oodtune.stages import sweep, train
from oodtune.stages.sweep_plan import (
    Inputs,
    Standing,
    estimate_cost,
    look_at_trial,
    look_at_trials,
    open_inputs,
    partial_of,
)
from oodtune.trial import Trial, plan_trials
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")


@pytest.fixture(scope="module")
def inputs(road: Road) -> Inputs:
    return open_inputs(road.cache, road.init, road.config)


@pytest.fixture
def trial(road: Road) -> Trial:
    return plan_trials(road.config.sweep)[0]


@pytest.fixture
def params(road: Road, trial: Trial) -> train.Params:
    return train.Params.for_trial(road.config, trial)


@pytest.fixture
def copied(road: Road, trial: Trial, tmp_path: Path) -> Path:
    return Path(shutil.copytree(road.directory / "trials" / trial.name, tmp_path / trial.name))


def standing(trial: Trial, params: train.Params, inputs: Inputs, out: Path) -> Standing:
    return look_at_trial(trial, params, inputs.digests, out)


def changed(config: Config, section: str, **values: object) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def alter_manifest(trial: Path, **values: object) -> None:
    manifest = json.loads((trial / "manifest.json").read_text(encoding="utf-8"))
    manifest.update(values)
    (trial / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_what_training_made_is_done_and_costs_nothing(road: Road, inputs: Inputs) -> None:
    standings = look_at_trials(road.config, inputs, road.directory / "trials")
    assert [one.trial for one in standings] == plan_trials(road.config.sweep)
    assert {one.state for one in standings} == {"done"}
    cost = estimate_cost(standings, inputs, 2)
    assert (cost.num_steps, cost.num_images, cost.weights_bytes, cost.checkpoint_bytes) == (0, 0, 0, 0)


def test_nothing_at_the_place_is_missing_without_a_reason(road: Road, inputs: Inputs, tmp_path: Path) -> None:
    standings = look_at_trials(road.config, inputs, tmp_path / "trials")
    assert {(one.state, one.step, one.reason) for one in standings} == {("missing", 0, "")}


def test_other_settings_make_a_trial_missing_and_are_named(
    road: Road, inputs: Inputs, trial: Trial, copied: Path
) -> None:
    config = changed(changed(road.config, "train", steps=7), "augment", jitter=0.0)
    found = standing(trial, train.Params.for_trial(config, trial), inputs, copied)
    assert (found.state, found.reason) == ("missing", "other settings: augment.jitter, train.steps")


@pytest.mark.parametrize("name", ["cache", "init"])
def test_other_inputs_make_a_trial_missing(
    name: str, inputs: Inputs, trial: Trial, params: train.Params, copied: Path
) -> None:
    found = look_at_trial(trial, params, {**inputs.digests, name: "0" * 64}, copied)
    assert (found.state, found.reason) == ("missing", f"other {name}")


def test_a_trial_of_another_version_or_of_another_name_is_missing(
    inputs: Inputs, trial: Trial, params: train.Params, copied: Path
) -> None:
    other = trial.model_copy(update={"seed": 9})
    assert standing(other, params, inputs, copied).reason == "another trial under this name"
    alter_manifest(copied, version="0.0.0")
    assert standing(trial, params, inputs, copied).reason == "made by oodtune 0.0.0"


def test_damage_makes_a_trial_missing(inputs: Inputs, trial: Trial, params: train.Params, copied: Path) -> None:
    with (copied / "weights.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xff")
    found = standing(trial, params, inputs, copied)
    assert (found.state, found.reason) == ("missing", "weights.safetensors is not the file that was written")
    (copied / "manifest.json").unlink()
    assert "expected a 'trial' artifact" in standing(trial, params, inputs, copied).reason


class KilledError(Exception):
    """Ends a trial in a way that nothing in it expects."""


def kill_at_12(done: int, total: int, what: str) -> None:
    if done == 12:
        raise KilledError


def test_checkpoints_of_the_same_beginning_make_a_trial_begun(
    road: Road, inputs: Inputs, trial: Trial, tmp_path: Path
) -> None:
    config, out = changed(road.config, "train", steps=40, checkpoint_every=3, snapshot_every=50), tmp_path / "trial"
    params = train.Params.for_trial(config, trial)
    with pytest.raises(KilledError):
        train.run(road.cache, road.init, out, params, trial, "cpu", kill_at_12)
    found = standing(trial, params, inputs, out)
    assert (found.state, found.step, found.reason) == ("begun", 9, "")
    assert estimate_cost([found], inputs, 1).num_steps == 31
    more = train.Params.for_trial(changed(config, "train", steps=50), trial)
    assert standing(trial, more, inputs, out).state == "missing"
    shutil.rmtree(partial_of(out) / "notes")
    assert standing(trial, params, inputs, out).state == "missing"


def test_the_cost_is_that_of_the_trials_left(road: Road, inputs: Inputs, tmp_path: Path) -> None:
    config = changed(road.config, "train", keep_every=2)
    standings = look_at_trials(config, inputs, tmp_path)
    cost = estimate_cost(standings, inputs, 2)
    weights = (road.trials[0] / "weights.safetensors").stat().st_size
    assert cost.num_steps == 4 * config.train.steps
    sources = len(open_artifact(road.cache, "cache").details["domains"]) - 1
    assert cost.num_images == cost.num_steps * config.train.batch_per_domain * sources
    assert cost.weights_bytes == pytest.approx(4 * weights * (1 + config.train.steps // 2), rel=0.02)
    assert cost.checkpoint_bytes == pytest.approx(2 * weights * 3 * 4, rel=0.02)  # live, kept, two moments of adamw
    assert cost.fits


def test_a_target_without_images_or_a_head_is_an_error_before_any_work(road: Road, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 'nowhere' in the sweep"):
        open_inputs(road.cache, road.init, changed(road.config, "sweep", target_domains=("nowhere",)))
    others = [
        name for name in open_artifact(road.cache, "cache").details["domains"] if name not in ("plain", "inverted")
    ]
    with pytest.raises(ArtifactError, match="run `oodtune init` again"):
        open_inputs(road.cache, road.init, changed(road.config, "sweep", target_domains=(others[0],)))


class Nobody:
    """A view that must not be shown anything."""

    def __getattr__(self, name: str) -> object:
        pytest.fail(f"{name} was shown")


def test_a_device_that_is_not_there_is_an_error_before_any_process(road: Road, inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found 'abacus'"):
        sweep.run(look_at_trials(road.config, inputs, tmp_path), inputs, Nobody(), device="abacus")  # type: ignore[arg-type]


def test_a_sweep_that_is_done_starts_no_process(road: Road, inputs: Inputs) -> None:
    standings = look_at_trials(road.config, inputs, road.directory / "trials")
    assert sweep.run(standings, inputs, Nobody()) == []  # type: ignore[arg-type]


def test_one_trial_alone_keeps_its_threads_and_several_share_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "count_cpus", lambda: 8)
    assert [sweep.share_cpus(concurrency) for concurrency in (1, 2, 3, 8, 20)] == [None, 4, 2, 1, 1]
