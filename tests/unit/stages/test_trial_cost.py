from pathlib import Path

import pytest

from oodtune.artifact import open_artifact, write_json
from oodtune.data.cache import open_cache
from oodtune.errors import ArtifactError
from oodtune.stages.trial_cost import COST, TrialCost, read_cost
from tests.unit.stages.conftest import Road

TOOK = TrialCost(seconds=20.0, num_images=3000, joules=None, device="NVIDIA H100 80GB HBM3", num_processes=1)


def test_a_trial_that_recorded_nothing_has_no_cost(tmp_path: Path) -> None:
    assert read_cost(tmp_path) is None


def test_a_cost_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / COST, TOOK.model_dump(mode="json"))
    assert read_cost(tmp_path) == TOOK


@pytest.mark.parametrize("text", ['{"seconds": 20.0', '{"seconds": 20.0}'])
def test_a_damaged_cost_is_one_line_with_advice(tmp_path: Path, text: str) -> None:
    (tmp_path / COST).write_text(text)
    with pytest.raises(ArtifactError, match=r"cost\.json: expected the cost of a trial .*delete the file") as raised:
        read_cost(tmp_path)
    assert "\n" not in str(raised.value)


def test_speed_counts_the_images_of_all_processes_and_devices_are_counted() -> None:
    assert TOOK.images_per_s == 150.0
    assert TOOK.model_copy(update={"num_processes": 4}).devices == "4 x NVIDIA H100 80GB HBM3"


@pytest.mark.xdist_group("road")
def test_a_trial_says_what_it_took_beside_what_it_is(road: Road) -> None:
    trial = open_artifact(road.trials[0], "trial")
    cost = read_cost(trial.path)
    assert cost is not None
    settings = road.config.train
    sources = len(open_cache(road.cache).source_domains(trial.details["trial"]["target_domain"]))
    assert cost.num_images == settings.steps * settings.batch_per_domain * sources
    assert cost.seconds > 0.0
    assert cost.device.startswith("CPU, ")
    assert COST not in trial.manifest.files
