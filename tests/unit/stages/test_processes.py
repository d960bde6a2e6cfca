"""A trial by two processes that torchrun starts: what becomes of a failure. What they train: tests/e2e."""

import sys
from pathlib import Path

import pytest

from oodtune.stages import cache, init, plan, planned, prepare
from oodtune.stages.failures import recorded_failures
from oodtune.stages.planned import PlannedTrial
from tests.fixtures.tiny_sweep import tiny_config
from tests.fixtures.warm.process import warm_bin

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("torchrun"), pytest.mark.timeout(300)]


def test_a_failure_of_several_processes_is_recorded_in_the_trials_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(warm_bin() / "python"))
    config = tiny_config(tmp_path)
    prepare.run(tmp_path / "dataset", prepare.Params.from_config(config), tmp_path / "downloads")
    cache.run(tmp_path / "dataset", tmp_path / "cache", cache.Params.from_config(config))
    init.run(tmp_path / "cache", tmp_path / "init", init.Params.from_config(config))
    item = PlannedTrial.from_json(plan.run(plan.Params.from_config(config))[0])
    item = item.model_copy(update={"trial": item.trial.model_copy(update={"learning_rate": 1e30})})
    metrics: dict[str, float] = {}
    paths = (tmp_path / "cache", tmp_path / "init", tmp_path / "out")
    planned.run(*paths, item.to_json(), processes=2, metrics=metrics.__setitem__)
    ((name, reason),) = recorded_failures([tmp_path / "out"]).items()
    assert (name, metrics) == (item.trial.name, {"failed": 1.0})
    assert reason.startswith("2 processes: step 3: expected a finite loss, found nan; ")
    assert f"failed: {name}: 2 processes: " in capsys.readouterr().err
