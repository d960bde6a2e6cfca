"""What training takes: counters of energy, and sums over the parts of an interrupted trial."""

from pathlib import Path

import pytest
import torch

from oodtune.train.checkpoint import Checkpoints
from oodtune.train.energy import NOTHING, Meter, Spent, open_packages
from oodtune.train.loop import Surroundings
from oodtune.train.ranks import Ranks
from tests.fixtures.toy_training import CONFIG, ToySource, train_toy

ALONE = Ranks(torch.device("cpu"))
BATCH = 8


def write_zone(directory: Path, zone: str, name: str, microjoules: int, span: int = 999_999_999) -> Path:
    """Write a zone as Linux shows it; return its counter."""
    (directory / zone).mkdir(parents=True, exist_ok=True)
    (directory / zone / "name").write_text(f"{name}\n")
    (directory / zone / "max_energy_range_uj").write_text(f"{span}\n")
    (directory / zone / "energy_uj").write_text(f"{microjoules}\n")
    return directory / zone / "energy_uj"


def test_packages_are_added_up_from_when_the_counter_was_opened(tmp_path: Path) -> None:
    first = write_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = write_zone(tmp_path, "intel-rapl:1", "package-1", 0)
    counter = open_packages(tmp_path)
    assert counter is not None
    assert counter() == 0.0
    first.write_text("7000000\n")
    second.write_text("500000\n")
    assert counter() == pytest.approx(2.5)


def test_zones_that_count_the_same_again_are_left_out(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    others = [write_zone(tmp_path, "intel-rapl:0:0", "core", 0), write_zone(tmp_path, "intel-rapl:1", "psys", 0)]
    counter = open_packages(tmp_path)
    assert counter is not None
    for other in others:
        other.write_text("9000000\n")
    assert counter() == 0.0


def test_a_counter_that_starts_again_at_zero_goes_on(tmp_path: Path) -> None:
    path = write_zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, span=9_999_999)
    counter = open_packages(tmp_path)
    assert counter is not None
    for microjoules, joules in ((1_000_000, 2.0), (8_000_000, 9.0), (0, 11.0)):
        path.write_text(f"{microjoules}\n")
        assert counter() == pytest.approx(joules)


def test_a_machine_that_does_not_tell_has_no_counter(tmp_path: Path) -> None:
    assert open_packages(tmp_path / "nothing") is None
    write_zone(tmp_path, "intel-rapl:0", "package-0", 0).unlink()
    assert open_packages(tmp_path) is None


def test_a_counter_that_is_lost_on_the_way_makes_the_energy_unknown_and_stops_nothing(tmp_path: Path) -> None:
    path = write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    counter = open_packages(tmp_path)
    assert counter is not None
    path.unlink()
    meter = Meter(NOTHING, ALONE, counter)
    meter.look()
    assert meter.read().joules is None


def test_a_meter_adds_to_what_was_spent_before() -> None:
    meter = Meter(Spent(100.0, 16, 5.0), ALONE, lambda: 2.0)
    meter.add_images(BATCH)
    spent = meter.read()
    assert 100.0 < spent.seconds < 110.0
    assert (spent.num_images, spent.joules) == (24, 7.0)


def test_energy_that_one_part_does_not_know_stays_unknown() -> None:
    assert Meter(Spent(1.0, 8, None), ALONE, lambda: 2.0).read().joules is None
    assert Meter(Spent(1.0, 8, 5.0), ALONE, None).read().joules is None


def test_a_killed_trial_counts_its_parts_up_to_their_last_checkpoints(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 40, "checkpoint_every": 10})

    def run(source: ToySource) -> Spent:
        with Checkpoints(tmp_path, "trial", lambda text: None) as checkpoints:
            return train_toy(config, source=source, around=Surroundings(checkpoints=checkpoints))[1].spent

    def fail(step: int) -> None:
        if step == 25:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(ToySource(fail))
    with Checkpoints(tmp_path, "trial", lambda text: None) as checkpoints:
        newest = checkpoints.newest()
    assert newest is not None
    part = Spent(*newest.notes["spent"])
    assert (newest.step, part.num_images) == (20, 20 * BATCH)
    spent = run(ToySource())
    assert spent.num_images == 40 * BATCH
    assert spent.seconds > part.seconds > 0.0
