from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from oodtune.config import TrainConfig
from oodtune.train.optimiser import create_optimiser, create_schedule, learning_rate_factor, milestone_steps

STEPS = 40


def make_network() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    return nn.Sequential(OrderedDict(backbone=backbone, head=nn.Linear(4, 2)))


def config_of(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate({"optimiser": "sgd", "steps": STEPS, **settings})


def settings_of(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, tuple[float, float]]:
    """Return the learning rate and weight decay of every parameter that is trained, by name."""
    found = {
        id(one): (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for one in group["params"]
    }
    return {name: found[id(one)] for name, one in network.named_parameters() if id(one) in found}


def rates_of(optimiser: torch.optim.Optimizer, schedule: LRScheduler) -> list[float]:
    rates = []
    for _ in range(STEPS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def rates_of_config(config: TrainConfig) -> list[float]:
    optimiser = create_optimiser(make_network(), config, learning_rate=0.5, weight_decay=0.0)
    return rates_of(optimiser, create_schedule(optimiser, config))


def plain_optimiser() -> torch.optim.Optimizer:
    return torch.optim.SGD(make_network().parameters(), lr=0.5)


@pytest.mark.parametrize("shares", [[0.5], [0.29, 0.5, 0.77], [0.999]])
def test_multistep_is_torchs_at_every_step(shares: list[float]) -> None:
    config = config_of(schedule="multistep", milestones=shares)
    theirs = plain_optimiser()
    schedule = MultiStepLR(theirs, [int(share * STEPS + 1e-6) for share in shares], gamma=0.1)
    assert rates_of_config(config) == pytest.approx(rates_of(theirs, schedule))


def test_cosine_is_torchs_at_every_step() -> None:
    theirs = plain_optimiser()
    assert rates_of_config(config_of(schedule="cosine")) == pytest.approx(
        rates_of(theirs, CosineAnnealingLR(theirs, STEPS))
    )


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # torch's SequentialLR passes one to its parts
def test_warm_up_and_cosine_are_torchs_in_sequence_at_every_step() -> None:
    theirs, warmup = plain_optimiser(), 7
    parts = [
        LinearLR(theirs, start_factor=1 / (warmup + 1), total_iters=warmup),
        CosineAnnealingLR(theirs, STEPS - warmup),
    ]
    expected = rates_of(theirs, SequentialLR(theirs, parts, [warmup]))
    assert rates_of_config(config_of(schedule="cosine", warmup_steps=warmup)) == pytest.approx(expected)


def test_warm_up_leaves_milestones_where_they_were() -> None:
    plain, warmed = (
        [learning_rate_factor(config_of(schedule="multistep", warmup_steps=warmup), step) for step in range(STEPS)]
        for warmup in (0, 5)
    )
    assert warmed[5:] == plain[5:]
    assert warmed[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "multistep"])
def test_a_schedule_that_begins_later_has_the_rates_of_one_that_went_on(schedule: str) -> None:
    config = config_of(schedule=schedule, warmup_steps=3)
    whole = rates_of_config(config)
    for first in (1, 2, 20, STEPS - 1):
        optimiser = create_optimiser(make_network(), config, learning_rate=0.5, weight_decay=0.0)
        later = rates_of(optimiser, create_schedule(optimiser, config, first))
        assert later[: STEPS - first] == whole[first:]


def test_a_share_of_the_steps_is_the_step_one_would_write() -> None:
    config = config_of(schedule="multistep", steps=100, milestones=[0.29, 0.57, 0.58])
    assert milestone_steps(config) == (29, 57, 58)  # 0.57 * 100 is 56.99... in binary
    assert milestone_steps(config_of(steps=7)) == (3,)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_decay_of_all_is_on_every_parameter_in_one_group(name: str, kind: type) -> None:
    network = make_network()
    optimiser = create_optimiser(network, config_of(optimiser=name), learning_rate=0.1, weight_decay=0.01)
    assert isinstance(optimiser, kind)
    assert len(optimiser.param_groups) == 1
    assert set(settings_of(optimiser, network).values()) == {(0.1, 0.01)}
    assert len(settings_of(optimiser, network)) == 6


def test_decay_of_matrices_spares_biases_and_norms() -> None:
    network = make_network()
    optimiser = create_optimiser(network, config_of(decay="matrices"), learning_rate=0.1, weight_decay=0.01)
    decays = {name: decay for name, (_, decay) in settings_of(optimiser, network).items()}
    assert {name for name, decay in decays.items() if decay == 0.01} == {"backbone.0.weight", "head.weight"}
    assert len(decays) == 6


@pytest.mark.parametrize("schedule", ["constant", "cosine", "multistep"])
def test_the_heads_rate_is_its_factor_times_the_backbones_at_every_step(schedule: str) -> None:
    network, config = make_network(), config_of(schedule=schedule, warmup_steps=3)
    optimiser = create_optimiser(network, config, learning_rate=0.1, weight_decay=0.0, head_rate_factor=10.0)
    steps = create_schedule(optimiser, config)
    for _ in range(STEPS):
        rates = {name: rate for name, (rate, _) in settings_of(optimiser, network).items()}
        assert rates["head.weight"] == rates["head.bias"] == pytest.approx(10 * rates["backbone.0.weight"])
        optimiser.step()
        steps.step()


def test_momentum_is_that_of_every_group() -> None:
    config = config_of(momentum=0.7, decay="matrices")
    optimiser = create_optimiser(make_network(), config, 0.1, 0.01, head_rate_factor=10.0)
    assert [group["momentum"] for group in optimiser.param_groups] == [0.7] * 4


def test_frozen_parameters_are_in_no_group_and_do_not_decay() -> None:
    network = make_network()
    network.get_submodule("backbone").requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = create_optimiser(network, config_of(optimiser="adamw"), learning_rate=0.1, weight_decay=0.5)
    assert settings_of(optimiser, network).keys() == {"head.weight", "head.bias"}
    network.get_submodule("head")(torch.ones(1, 4)).sum().backward()
    optimiser.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_groups_of_equal_settings_train_as_one() -> None:
    def trained(decay: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = make_network()
        optimiser = create_optimiser(network, config_of(optimiser="adamw", decay=decay), 0.1, 0.0)
        images = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            optimiser.zero_grad()
            hidden = network.get_submodule("backbone")(images).mean((2, 3))
            network.get_submodule("head")(hidden).square().sum().backward()
            optimiser.step()
        return [one.detach() for one in network.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(trained("all"), trained("matrices"), strict=True))
