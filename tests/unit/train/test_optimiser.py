import pytest
import torch
from torch import nn

from oodtune.config import TrainConfig
from oodtune.train.optimiser import create_optimiser, create_schedule, learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [("constant", 1, 1, 1), ("cosine", 1, 0.5, 0), ("multistep", 1, 0.1, 0.1)],
)
def test_the_schedule_falls_as_its_name_says(schedule: str, first: float, middle: float, last: float) -> None:
    config = TrainConfig.model_validate({"schedule": schedule, "steps": 1000})
    factors = [learning_rate_factor(config, step) for step in (0, 500, 999)]
    assert factors == pytest.approx([first, middle, last], abs=1e-5)


def test_the_scheduler_sets_the_rate_of_every_step() -> None:
    config = TrainConfig(optimiser="sgd", schedule="multistep", steps=4)
    optimiser = create_optimiser(nn.Linear(2, 2), config, learning_rate=0.5, weight_decay=0.0)
    schedule = create_schedule(optimiser, config)
    rates = []
    for _ in range(4):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05])


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_decays_every_trainable_parameter(name: str, kind: type) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    config = TrainConfig.model_validate({"optimiser": name})
    optimiser = create_optimiser(network, config, learning_rate=0.1, weight_decay=0.01)
    assert isinstance(optimiser, kind)
    (group,) = optimiser.param_groups
    assert len(group["params"]) == 4
    assert group["weight_decay"] == 0.01
