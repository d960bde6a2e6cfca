"""`oodtune train` in processes that are killed, stopped and short of disk, and ends in the bytes of one left alone.

That one is the installed command; the others are forked, which saves their imports.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from oodtune.artifact import open_artifact
from oodtune.stages import cache, init, prepare
from oodtune.trial import TrialRecord
from tests.fixtures.tiny_sweep import tiny_config, tiny_settings, write_settings
from tests.fixtures.warm.process import WarmCommand, warm_bin

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("survival"), pytest.mark.timeout(600)]

OODTUNE = Path(sys.executable).with_name("oodtune")
ENVIRONMENT = {**os.environ, "PATH": f"{OODTUNE.parent}{os.pathsep}{os.environ['PATH']}"}
STEPS = 80
TRAIN = {"steps": STEPS, "snapshot_every": 40, "checkpoint_every": 4, "batch_per_domain": 2}
METHOD = {"averaged": {"dropout": 0.5, "average": "sma", "average_from": 30}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with settings, a cache, an init, and the trial `whole` that nothing disturbed."""
    directory = tmp_path_factory.mktemp("survival")
    sections: dict[str, dict[str, object]] = {"train": dict(TRAIN), "methods": dict(METHOD)}
    write_settings(directory / "params.yaml", tiny_settings(directory, **sections))
    config = tiny_config(directory, **sections)
    prepare.run(directory / "dataset", prepare.Params.from_config(config), directory)
    cache.run(directory / "dataset", directory / "cache", cache.Params.from_config(config))
    init.run(directory / "cache", directory / "init", init.Params.from_config(config))
    subprocess.run([str(OODTUNE), *words("whole")], cwd=directory, env=ENVIRONMENT, check=True)
    return directory


def words(out: str, cache_name: str = "cache", learning_rate: str = "0.0001") -> list[str]:
    trial = f"--target-domain inverted --method averaged --learning-rate {learning_rate} --weight-decay 0.0001 --seed 0"
    return ["train", "--cache", cache_name, "--init", "init", "--out", out, *trial.split()]


def start(project: Path, out: str, cache_name: str = "cache") -> WarmCommand:
    return WarmCommand(words(out, cache_name), project)


def wait_for(is_running: Callable[[], bool], is_so: Callable[[], bool], pause_s: float = 0.002) -> None:
    while not is_so():
        assert is_running(), "the process ended first"
        time.sleep(pause_s)


def notes_of(project: Path, out: str) -> Path:
    return project / f".{out}.partial" / "notes"


def newest_step(project: Path, out: str) -> int:
    return max((int(path.name[:9]) for path in notes_of(project, out).glob("*-*.safetensors")), default=0)


def assert_equal_to_whole(project: Path, out: str) -> None:
    whole, other = open_artifact(project / "whole", "trial"), open_artifact(project / out, "trial")
    for name in ("manifest.json", *whole.manifest.files):
        assert (other.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert not notes_of(project, out).parent.exists()


def test_the_undisturbed_trial_is_of_the_method(project: Path) -> None:
    record = TrialRecord.model_validate(open_artifact(project / "whole", "trial").details)
    assert record.averaged_steps == (30, record.best_step)
    assert 0 < record.best_step <= STEPS


def test_a_trial_killed_at_random_moments_ends_in_the_same_bytes(project: Path) -> None:
    chance = random.Random()
    for _ in range(3):
        process = start(project, "killed")
        goal = newest_step(project, "killed") + chance.randint(1, 16)
        wait_for(process.is_running, lambda goal=goal: newest_step(project, "killed") >= goal)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.finish()[0] == -signal.SIGKILL
        assert not (project / "killed").exists()
    code, _, lines = start(project, "killed").finish()
    assert code == 0
    assert len(lines) == 1
    assert "found a checkpoint; training goes on after step" in lines[0]
    assert_equal_to_whole(project, "killed")


def test_a_trial_killed_while_it_writes_a_checkpoint_ends_in_the_same_bytes(project: Path) -> None:
    writing = notes_of(project, "half") / "writing"
    for _ in range(10):
        process = start(project, "half")
        goal = newest_step(project, "half") + 1
        wait_for(process.is_running, lambda goal=goal: newest_step(project, "half") >= goal)  # type: ignore[misc]
        wait_for(process.is_running, writing.exists, pause_s=0.0)
        process.send_signal(signal.SIGKILL)
        process.finish()
        if writing.exists():
            break
    else:
        pytest.fail("no kill came while a checkpoint was being written")
    assert start(project, "half").finish()[0] == 0
    assert_equal_to_whole(project, "half")


def test_signals_end_with_a_checkpoint_and_their_codes_and_damage_costs_one_generation(project: Path) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = start(project, "stopped")
        goal = newest_step(project, "stopped") + 1
        wait_for(process.is_running, lambda goal=goal: newest_step(project, "stopped") >= goal)  # type: ignore[misc]
        process.send_signal(number)
        found, _, lines = process.finish()
        assert found == code
        assert lines[-1].startswith(f"stopped: {number.name} after step {newest_step(project, 'stopped')} of {STEPS}; ")
        assert sum(line.startswith("stopped") for line in lines) == 1
    checkpoints = sorted(notes_of(project, "stopped").glob("*-*.safetensors"))
    assert len(checkpoints) == 2
    os.truncate(checkpoints[-1], 1000)
    code, _, lines = start(project, "stopped").finish()
    assert code == 0
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")
    assert lines[0].endswith(f"training goes on after step {int(checkpoints[0].name[:9])}")
    assert_equal_to_whole(project, "stopped")


def test_another_trial_at_the_same_place_starts_afresh(project: Path) -> None:
    process = start(project, "place")
    wait_for(process.is_running, lambda: newest_step(project, "place") > 0)
    process.send_signal(signal.SIGKILL)
    process.finish()
    code, _, lines = WarmCommand(words("place", learning_rate="0.0002"), project).finish()
    assert (code, lines) == (0, [])
    assert len((project / "place" / "log.jsonl").read_text().splitlines()) == STEPS // 40 + 1  # and step 0


def test_a_cache_that_vanishes_does_not_harm_the_trial_that_reads_it(project: Path) -> None:
    shutil.copytree(project / "cache", project / "fleeting")
    process = start(project, "orphan", "fleeting")
    wait_for(process.is_running, lambda: newest_step(project, "orphan") > 0)
    shutil.rmtree(project / "fleeting")
    assert process.finish() == (0, "", [])
    assert_equal_to_whole(project, "orphan")
    code, _, lines = start(project, "orphan2", "fleeting").finish()
    assert code == 2
    assert len(lines) == 1
    assert "make it with `oodtune cache`" in lines[0]


def test_a_disk_that_is_full_at_the_end_is_one_line_and_the_next_run_finishes(project: Path) -> None:
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    settings["train"].update(steps=20, checkpoint_every=30)
    write_settings(project / "short.yaml", settings)
    short = [*words("full"), "--params", "short.yaml"]
    code, _, lines = WarmCommand(short, project, max_file_bytes=500_000).finish()
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: full: expected to write a trial there, found: ")
    assert not (project / "full").exists()
    assert WarmCommand(short, project).finish() == (0, "", [])
    open_artifact(project / "full", "trial")


def test_ctrl_c_under_dvc_repro_loses_nothing(project: Path) -> None:
    command = " ".join([str(warm_bin() / "oodtune"), *words("repeated")])
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": {"cmd": command, "outs": ["repeated"]}}}))
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=project, env=ENVIRONMENT, check=True)
    repro = subprocess.Popen(
        ["dvc", "repro"], cwd=project, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: repro.poll() is None, lambda: newest_step(project, "repeated") > 0)
    os.killpg(repro.pid, signal.SIGINT)  # what a terminal does
    _, errors = repro.communicate(timeout=300)
    assert repro.returncode != 0
    assert any(line.startswith("stopped: SIGINT after step") for line in errors.splitlines())
    result = subprocess.run(["dvc", "repro"], cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "training goes on after step" in result.stderr
    assert_equal_to_whole(project, "repeated")
