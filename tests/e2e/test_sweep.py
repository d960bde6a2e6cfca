"""`oodtune sweep` in processes that are killed, stopped and made to fail, and ends in the bytes of `oodtune train`."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oodtune.artifact import open_artifact
from oodtune.config import Config
from oodtune.stages import cache, init, prepare, train
from oodtune.trial import Trial, plan_trials
from tests.fixtures.tiny_sweep import tiny_config, tiny_settings, write_settings
from tests.fixtures.warm.process import WarmCommand

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("sweep"), pytest.mark.timeout(600)]

STEPS = 48
SECTIONS: dict[str, dict[str, object]] = {
    "train": {"steps": STEPS, "snapshot_every": 24, "checkpoint_every": 4},
    "sweep": {"target_domains": ["inverted"]},
    "select": {"target_domain": "inverted"},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tiny_config(tmp_path_factory.mktemp("config"), **SECTIONS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with settings for two trials, and with those trials in `whole`, from `oodtune train`."""
    directory = tmp_path_factory.mktemp("sweep")
    write_settings(directory / "params.yaml", tiny_settings(directory, **SECTIONS))
    config = tiny_config(directory, **SECTIONS)
    prepare.run(directory / "dataset", prepare.Params.from_config(config), directory)
    cache.run(directory / "dataset", directory / "cache", cache.Params.from_config(config))
    init.run(directory / "cache", directory / "init", init.Params.from_config(config))
    for trial in plan_trials(config.sweep):
        params = train.Params.for_trial(config, trial)
        train.run(directory / "cache", directory / "init", directory / "whole" / trial.name, params, trial, "cpu")
    return directory


def start(project: Path, out: str, *options: str) -> WarmCommand:
    words = ["sweep", "--cache", "cache", "--init", "init", "--out", out, "--device", "cpu", *options]
    return WarmCommand(words, project, {**os.environ, "COLUMNS": "200"})


def newest_step(project: Path, out: str, trial: Trial) -> int:
    notes = project / out / f".{trial.name}.partial" / "notes"
    return max((int(path.name[:9]) for path in notes.glob("*-*.safetensors")), default=0)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def worker_on(project: Path, out: str, trial: Trial) -> int:
    """Return the process that has the lock of a trial open."""
    lock = project / out / f".{trial.name}.partial" / "lock"
    (pid,) = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and has_open(path, lock))
    return pid


def has_open(process: Path, file: Path) -> bool:
    try:
        return any(os.path.samestat(path.stat(), file.stat()) for path in (process / "fd").iterdir() if path.exists())
    except OSError:  # it has ended
        return False


def is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def assert_equal_to_whole(project: Path, out: str, config: Config) -> None:
    for trial in plan_trials(config.sweep):
        whole, other = (open_artifact(project / place / trial.name, "trial") for place in ("whole", out))
        for name in ("manifest.json", *whole.manifest.files):
            assert (other.path / name).read_bytes() == (whole.path / name).read_bytes(), name
        assert not (project / out / f".{trial.name}.partial").exists()


def test_one_process_trains_trials_one_after_another_in_the_bytes_of_train(project: Path, config: Config) -> None:
    process = start(project, "alone")
    first, second = plan_trials(config.sweep)
    code, output, lines = process.finish()
    assert code == 0, lines
    assert "2 trials: 0 done, 0 to go on with, 2 to begin" in output
    assert output.splitlines()[-1] == "2 of 2 trials are done"
    told = [line for line in lines if not line.startswith("sweep: ")]
    assert told[0] == f"{first.name}: begins"
    assert told[1].startswith(f"{first.name}: finished (1 of 2 trials are done; about ")
    assert told[2:] == [f"{second.name}: begins", f"{second.name}: finished (2 of 2 trials are done)"]
    assert_equal_to_whole(project, "alone", config)


def test_killed_and_stopped_a_sweep_goes_on_and_ends_in_the_same_bytes(project: Path, config: Config) -> None:
    trials = plan_trials(config.sweep)
    process = start(project, "hurt", "--concurrency", "2")
    wait_for(lambda: min(newest_step(project, "hurt", trial) for trial in trials) > 0)
    workers = [worker_on(project, "hurt", trial) for trial in trials]
    assert len({process.pid, *workers}) == 3
    os.kill(workers[0], signal.SIGKILL)
    process.kill()
    process.finish()
    wait_for(lambda: not any(map(is_running, workers)))  # the other one noticed
    reached = {trial.name: newest_step(project, "hurt", trial) for trial in trials}

    listed = start(project, "hurt", "--dry-run").finish()
    assert listed[0] == 0
    assert "2 trials: 0 done, 2 to go on with, 0 to begin" in listed[1]
    assert listed[2] == []

    process = start(project, "hurt")
    wait_for(lambda: newest_step(project, "hurt", trials[0]) > reached[trials[0].name])
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    code, _, lines = process.finish()
    assert code == 143
    assert lines[0] == f"{trials[0].name}: goes on after step {reached[trials[0].name]}"
    assert lines[-1].startswith("stopped: SIGTERM; 0 of 2 trials are done, 1 stopped under way; ")

    code, output, lines = start(project, "hurt").finish()
    assert code == 0, lines
    assert_equal_to_whole(project, "hurt", config)
    manifests = [project / "hurt" / trial.name / "manifest.json" for trial in trials]
    before = [path.stat().st_mtime_ns for path in manifests]
    code, output, lines = start(project, "hurt").finish()
    assert (code, lines) == (0, [])
    assert "all 2 trials are done" in output
    assert [path.stat().st_mtime_ns for path in manifests] == before


def test_a_trial_that_fails_or_is_killed_keeps_no_other_from_being_trained(project: Path) -> None:
    sweep = {"target_domains": ["inverted"], "methods": ["plain"], "learning_rates": [1e30, 0.0001, 0.0002]}
    sections = {**SECTIONS, "sweep": sweep}
    write_settings(project / "failing.yaml", tiny_settings(project, **sections))
    bad, victim, other = plan_trials(tiny_config(project, **sections).sweep)
    process = start(project, "failing", "--concurrency", "2", "--params", "failing.yaml")
    wait_for(lambda: newest_step(project, "failing", victim) > 0)
    os.kill(worker_on(project, "failing", victim), signal.SIGKILL)
    code, output, lines = process.finish()
    assert code == 1
    failed = dict(line.split(": failed: ", 1) for line in lines if ": failed: " in line)
    assert failed.keys() == {bad.name, victim.name}
    assert "expected a finite loss" in failed[bad.name]
    assert "lower --concurrency" in failed[victim.name]
    assert output.splitlines()[-1].startswith("1 of 3 trials are done; failed: ")
    open_artifact(project / "failing" / other.name, "trial")


def test_a_missing_cache_is_one_line_and_nothing_is_begun(project: Path) -> None:
    process = start(project, "nowhere", "--cache", "missing")
    code, _, lines = process.finish()
    assert code == 2
    assert len(lines) == 1
    assert "make it with `oodtune cache`" in lines[0]
    assert not (project / "nowhere").exists()
