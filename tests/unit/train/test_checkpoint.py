"""Checkpoints on disk, and trials that are interrupted and go on."""

import os
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oodtune.config import MethodConfig, TrainConfig
from oodtune.errors import Stopped, TrainingError
from oodtune.train.averages import NoAverage
from oodtune.train.checkpoint import WRITING, Checkpoint, Checkpoints
from oodtune.train.history import History
from oodtune.train.loop import Surroundings
from oodtune.train.optimiser import create_optimiser
from oodtune.train.run import Run
from oodtune.train.stop import listen_for_stop
from oodtune.train.update import update
from tests.fixtures.toy_training import CONFIG, ToySource, equal, make_network, train_toy

OFTEN = CONFIG.model_copy(update={"steps": 40, "snapshot_every": 8, "checkpoint_every": 3})


class Lines(list[str]):
    """What was said, a line each."""

    def __call__(self, text: str) -> None:
        assert "\n" not in text
        self.append(text)


class InterruptedTrialError(Exception):
    pass


def checkpoint_of(step: int, size: int = 4) -> Checkpoint:
    return Checkpoint(step, {"weight": torch.full((size,), float(step))}, {"step": step})


def open_checkpoints(directory: Path, said: Lines | None = None, identity: str = "trial") -> Checkpoints:
    return Checkpoints(directory, identity, Lines() if said is None else said)


def save(directory: Path, *steps: int, identity: str = "trial") -> list[Path]:
    """Write a checkpoint of each step; return the files that there are then, oldest first."""
    with open_checkpoints(directory, identity=identity) as checkpoints:
        for step in steps:
            checkpoints.save(checkpoint_of(step))
        assert checkpoints.wait()
    return sorted(directory.iterdir())


def newest_step(directory: Path, said: Lines | None = None, identity: str = "trial") -> int | None:
    with open_checkpoints(directory, said, identity) as checkpoints:
        found = checkpoints.newest()
    return None if found is None else found.step


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Refuse larger files, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_newest_checkpoint_comes_back_as_it_was_and_two_are_kept(tmp_path: Path) -> None:
    files = save(tmp_path, 3, 6, 9)
    assert [path.name[:10] for path in files] == ["000000006-", "000000009-"]
    with open_checkpoints(tmp_path) as checkpoints:
        found = checkpoints.newest()
    assert found is not None
    assert (found.step, found.notes) == (9, {"step": 9})
    assert equal(found.tensors, checkpoint_of(9).tensors)


def test_a_checkpoint_is_of_the_moment_of_saving_whatever_becomes_of_the_tensors(tmp_path: Path) -> None:
    weight = torch.zeros(1_000_000)
    with open_checkpoints(tmp_path) as checkpoints:
        for step in range(1, 4):
            checkpoints.save(Checkpoint(step, {"weight": weight}, {}))
            weight += 1.0
        checkpoints.wait()
        found = checkpoints.newest()
    assert found is not None
    assert torch.equal(found.tensors["weight"], torch.full((1_000_000,), 2.0))


def test_a_damaged_newest_checkpoint_gives_way_to_the_older_with_a_warning(tmp_path: Path) -> None:
    flip_a_bit(save(tmp_path, 3, 6)[-1])
    said = Lines()
    assert newest_step(tmp_path, said) == 3
    assert len(said) == 1
    assert "damaged checkpoint 000000006-" in said[0]
    assert said[0].endswith("training goes on after step 3")
    assert newest_step(tmp_path, said) == 3
    assert not said[1].startswith("warning")  # the damaged one is gone


@pytest.mark.parametrize("size", [0, 100])
def test_two_damaged_checkpoints_are_a_fresh_start_with_a_warning(tmp_path: Path, size: int) -> None:
    for path in save(tmp_path, 3, 6):
        os.truncate(path, size)
    said = Lines()
    assert newest_step(tmp_path, said) is None
    assert len(said) == 1
    assert said[0].endswith("training goes on at the start")


def test_a_checkpoint_of_another_trial_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, 3, 6, identity="another")
    said = Lines()
    assert newest_step(tmp_path, said) is None
    assert said == []


def test_what_a_kill_left_half_written_does_not_count(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / WRITING).write_bytes(b"half")
    assert newest_step(tmp_path) == 3
    assert len(save(tmp_path, 6)) == 2


def test_a_full_disk_is_one_warning_while_there_is_an_older_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 3)
    said = Lines()
    with open_checkpoints(tmp_path, said) as checkpoints, files_of_at_most(10_000):
        for step in (6, 9):
            checkpoints.save(checkpoint_of(step, 100_000))
            assert not checkpoints.wait()
    assert len(said) == 1
    assert "File too large" in said[0]
    assert said[0].endswith("starts again after step 3")
    assert newest_step(tmp_path) == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_an_error_if_there_is_no_checkpoint_at_all(tmp_path: Path) -> None:
    with open_checkpoints(tmp_path) as checkpoints, files_of_at_most(10_000):
        checkpoints.save(checkpoint_of(3, 100_000))
        with pytest.raises(TrainingError, match=r"expected room for a checkpoint.*File too large.*free space"):
            checkpoints.wait()


def outcome(history: History) -> tuple[object, ...]:
    assert history.kept is not None
    return history.snapshots, history.kept.step, history.kept.averaged_steps, history.kept.source_accuracy


METHODS = {
    "dropout": MethodConfig(dropout=0.9),
    "mixout, two groups": MethodConfig(mixout=0.5, head_rate_factor=3.0),
    "sma": MethodConfig(dropout=0.5, average="sma", average_from=5, average_every=2),
    "swad open": MethodConfig(average="swad", swad_converge=2, swad_tolerance=3),
    "swad closed": MethodConfig(average="swad", swad_converge=1, swad_tolerance=1, swad_ratio=0.0),
    "swad never open": MethodConfig(average="swad", swad_converge=9),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_trial_interrupted_at_random_steps_ends_in_the_same_bits(tmp_path: Path, name: str, optimiser: str) -> None:
    config = TrainConfig.model_validate(
        {**OFTEN.model_dump(), "optimiser": optimiser, "schedule": "cosine", "warmup_steps": 5}
    )
    rate = 0.3 if optimiser == "sgd" else 0.02
    network, history = train_toy(config, METHODS[name], rate)
    chance = random.Random(f"{name} {optimiser}")
    interruptions = 0
    for _ in range(20):
        last = chance.randrange(40)

        def interrupt(step: int, last: int = last) -> None:
            if step == last:
                raise InterruptedTrialError

        try:
            with open_checkpoints(tmp_path) as checkpoints:
                around = Surroundings(checkpoints=checkpoints)
                resumed, resumed_history = train_toy(config, METHODS[name], rate, ToySource(interrupt), around)
            break
        except InterruptedTrialError:
            interruptions += 1
    else:
        pytest.fail("was never finished")
    assert interruptions > 0
    assert equal(resumed.state_dict(), network.state_dict())
    assert outcome(resumed_history) == outcome(history)
    assert resumed_history.kept is not None
    assert history.kept is not None
    assert equal(resumed_history.kept.state, history.kept.state)


def test_a_resumed_trial_does_not_repeat_the_steps_before_its_checkpoint(tmp_path: Path) -> None:
    steps: list[int] = []
    for _ in range(2):
        with open_checkpoints(tmp_path) as checkpoints:
            train_toy(OFTEN, source=ToySource(steps.append), around=Surroundings(checkpoints=checkpoints))
    assert steps == [*range(40), 39]


def test_the_layout_of_restored_weights_and_momenta_is_that_of_the_network(tmp_path: Path) -> None:
    method = METHODS["sma"]
    with open_checkpoints(tmp_path) as checkpoints:
        train_toy(OFTEN, method, around=Surroundings(checkpoints=checkpoints))
    with open_checkpoints(tmp_path) as checkpoints:
        network, history = train_toy(OFTEN, method, around=Surroundings(checkpoints=checkpoints))
    assert history.kept is not None
    for weight in (network.state_dict()["backbone.0.weight"], history.kept.state["backbone.0.weight"]):
        assert weight.is_contiguous(memory_format=torch.channels_last)
        assert not weight.is_contiguous()


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_the_layout_of_restored_optimiser_state_is_that_of_the_weights(optimiser: str) -> None:
    runs = []
    for _ in range(2):
        network = make_network()
        config = TrainConfig.model_validate({"optimiser": optimiser})
        run = Run(network, create_optimiser(network, config, 0.1, 0.0), NoAverage())
        runs.append(run)
    first, second = runs
    update(first.network, first.optimiser, *ToySource().draw_batch(0))
    saved = first.checkpoint()
    second.restore(saved._replace(tensors={name: tensor.contiguous() for name, tensor in saved.tensors.items()}))
    states = [list(run.optimiser.state.values()) for run in runs]
    for one, other in zip(*states, strict=True):
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name])
            assert tensor.stride() == other[name].stride()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_training_after_the_step_with_a_checkpoint_of_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    def send(step: int) -> None:
        if step == 13:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # a second one changes nothing

    before = signal.getsignal(number)
    with listen_for_stop() as stop, open_checkpoints(tmp_path) as checkpoints:
        around = Surroundings(checkpoints=checkpoints, stop=stop)
        with pytest.raises(Stopped, match=f"{number.name} after step 14 of 40; a checkpoint is written") as raised:
            train_toy(OFTEN, source=ToySource(send), around=around)
    assert raised.value.exit_code == code
    assert signal.getsignal(number) is before
    assert newest_step(tmp_path) == 14


def test_a_loss_that_is_not_finite_leaves_the_checkpoints_of_before(tmp_path: Path) -> None:
    class Diverging(ToySource):
        def draw_batch(self, step: int) -> tuple[Tensor, Tensor]:
            pixels, labels = super().draw_batch(step)
            return (pixels if step < 20 else pixels * torch.inf), labels

    for _ in range(2):
        with open_checkpoints(tmp_path) as checkpoints, pytest.raises(TrainingError, match=r"step 21: .*lower the"):
            train_toy(OFTEN, source=Diverging(), around=Surroundings(checkpoints=checkpoints))
        assert newest_step(tmp_path) == 18  # and no state that is not finite is written
