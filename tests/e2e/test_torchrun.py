"""Two processes on CPUs train one network, to what one process makes of it: forked, and as `torchrun` starts them."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from oodtune.artifact import open_artifact
from oodtune.config import Config
from oodtune.stages import cache, init, prepare, train
from oodtune.trial import Trial
from tests.fixtures.forked_ranks import ForkedRanks, fork_ranks
from tests.fixtures.tiny_sweep import tiny_config, tiny_settings, write_settings
from tests.fixtures.warm.process import warm_environment

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("torchrun"), pytest.mark.timeout(600)]

STEPS = 40
SECTIONS: dict[str, dict[str, object]] = {
    "train": {"steps": STEPS, "snapshot_every": 10, "checkpoint_every": 5, "batch_per_domain": 4, "keep_every": 20},
    "methods": {
        "everything": {
            "dropout": 0.9,
            "mixout": 0.5,
            "head_rate_factor": 10.0,
            "average": "sma",
            "average_from": 10,
        }
    },
}
TRIAL = Trial(target_domain="inverted", method="everything", learning_rate=1e-4, weight_decay=1e-4, seed=0)
TOLERANCE = 2e-5
"""Of weights after 40 steps of AdamW at a rate of 1e-4: a fiftieth of what they may have moved."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    directory = tmp_path_factory.mktemp("torchrun")
    write_settings(directory / "params.yaml", tiny_settings(directory, **SECTIONS))
    config = tiny_config(directory, **SECTIONS)
    prepare.run(directory / "dataset", prepare.Params.from_config(config), directory)
    cache.run(directory / "dataset", directory / "cache", cache.Params.from_config(config))
    init.run(directory / "cache", directory / "init", init.Params.from_config(config))
    return directory, config


def start(directory: Path, out: str) -> subprocess.Popen[str]:
    trial = "--target-domain inverted --method everything --learning-rate 0.0001 --weight-decay 0.0001 --seed 0"
    oodtune = ["-m", "oodtune", "train", "--cache", "cache", "--init", "init", "--out", out, *trial.split()]
    command = ["torchrun", "--standalone", "--nproc-per-node", "2", *oodtune]
    return subprocess.Popen(command, cwd=directory, env=warm_environment(), stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def wait_for_step(directory: Path, out: str, step: int, is_running: Callable[[], bool]) -> None:
    notes = directory / f".{out}.partial" / "notes"
    while max((int(path.name[:9]) for path in notes.glob("*-*.safetensors")), default=0) < step:
        assert is_running()
        time.sleep(0.002)


def fork(directory: Path, config: Config, out: str) -> ForkedRanks:
    """Start what `start` starts, without torchrun and its imports."""
    params = train.Params.for_trial(config, TRIAL)
    return fork_ranks(2, train.run, directory / "cache", directory / "init", directory / out, params, TRIAL)


def train_alone(directory: Path, config: Config) -> Path:
    out = directory / "alone"
    train.run(directory / "cache", directory / "init", out, train.Params.for_trial(config, TRIAL), TRIAL, "cpu")
    return out


def assert_close(first: Path, second: Path) -> None:
    """Check that two trials kept the same steps, weights within the tolerance, and measured alike."""
    details = [open_artifact(path, "trial").details for path in (first, second)]
    for name in ("best_step", "averaged_steps", "trajectory", "init_digest"):
        assert details[0][name] == details[1][name]
    for name in ("weights.safetensors", "trajectory/000000020.safetensors"):
        weights, others = load_file(first / name), load_file(second / name)
        assert max(float((weights[key] - others[key]).abs().max()) for key in weights) < TOLERANCE
    for line, other in zip(*(log_of(path) for path in (first, second)), strict=True):
        assert line["step"] == other["step"]
        assert line["source_loss"] == pytest.approx(other["source_loss"], abs=1e-4)
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-4)


def log_of(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def both(project: tuple[Path, Config]) -> Path:
    """Return the trial that two forked processes made, and nothing disturbed."""
    assert fork(*project, "both").join() == [0, 0]
    return project[0] / "both"


def test_two_processes_train_what_one_trains(project: tuple[Path, Config], both: Path) -> None:
    assert_close(both, train_alone(*project))


def test_two_processes_go_on_after_a_kill_and_under_torchrun_after_a_signal_to_the_same_bytes(
    project: tuple[Path, Config], both: Path
) -> None:
    directory, _ = project
    ranks = fork(*project, "again")
    wait_for_step(directory, "again", 5, ranks.are_running)
    ranks.kill()
    process = start(directory, "again")
    wait_for_step(directory, "again", 15, lambda: process.poll() is None)
    process.terminate()  # torchrun tells its processes
    code, errors = finish(process)
    assert code != 0
    assert "found a checkpoint; training goes on after step" in errors
    assert errors.count("stopped: SIGTERM after step ") == 1
    code, errors = finish(start(directory, "again"))
    assert code == 0, errors
    assert "found a checkpoint; training goes on after step" in errors
    for name in ("manifest.json", *open_artifact(directory / "again", "trial").manifest.files):
        assert (directory / "again" / name).read_bytes() == (both / name).read_bytes(), name
