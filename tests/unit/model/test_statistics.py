"""Batch-norm statistics estimated from data, against torch's own update_bn and statistics by hand."""

import pytest
import timm
import torch
from timm.layers import EvoNorm2dB0, FrozenBatchNormAct2d
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from oodtune.errors import ArtifactError
from oodtune.model.statistics import estimate_statistics, moved_norms

STATISTICS = ("running_mean", "running_var")


def draw_batches(count: int = 4) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [2.0 + 3.0 * torch.randn(8, 3, 6, 6, generator=random) for _ in range(count)]


def make_network(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Dropout(0.9), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()


def statistics_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if name.endswith(STATISTICS)}


def destroy(network: nn.Module) -> None:
    for name, value in network.state_dict().items():
        if name.endswith(STATISTICS):
            value.fill_(float("nan"))


def test_destroyed_statistics_become_those_of_the_data() -> None:
    network, batches = make_network(nn.BatchNorm2d(4)), draw_batches()
    destroy(network)
    estimate_statistics(network, batches)
    with torch.no_grad():
        inputs = network[0](torch.cat(batches)).transpose(0, 1).flatten(1)  # (4, values)
    assert torch.allclose(network[1].running_mean, inputs.mean(1), rtol=1e-4)
    assert torch.allclose(network[1].running_var, inputs.var(1), rtol=0.02)  # within batches only


def test_statistics_are_those_of_torchs_update_bn() -> None:
    ours, theirs = (timm.create_model("resnet18", num_classes=0) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    batches = [torch.cat([batch] * 2, dim=3).repeat(1, 1, 6, 3) for batch in draw_batches(3)]  # 36 x 36
    estimate_statistics(ours.eval(), batches)
    update_bn(batches, theirs)
    expected = statistics_of(theirs)
    for name, value in statistics_of(ours).items():
        assert torch.allclose(value, expected[name], rtol=1e-4, atol=1e-5), name


def test_norms_of_timm_that_know_no_missing_momentum_are_estimated_too() -> None:
    network, batches = make_network(EvoNorm2dB0(4)), draw_batches()
    destroy(network)
    estimate_statistics(network, batches)
    with torch.no_grad():
        variances = torch.stack([network[0](batch).transpose(0, 1).flatten(1).var(1) for batch in batches])
    assert torch.allclose(network[1].running_var, variances.mean(0), rtol=1e-4)


def test_frozen_norms_keep_what_they_have() -> None:
    frozen = FrozenBatchNormAct2d(4)
    frozen.running_mean.fill_(0.7)
    estimate_statistics(make_network(frozen), draw_batches())
    assert torch.equal(frozen.running_mean, torch.full((4,), 0.7))


def test_only_the_norms_that_are_named_are_estimated() -> None:
    network = make_network(nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    estimate_statistics(network, draw_batches(), names=moved_norms(before, {**before, "4.running_var": torch.zeros(4)}))
    assert moved_norms(before, network.state_dict()) == ["4"]
    assert torch.equal(network.state_dict()["1.num_batches_tracked"], before["1.num_batches_tracked"])


def test_a_norm_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected a batch norm 'stem' in the network, found none; pass"):
        estimate_statistics(make_network(nn.BatchNorm2d(4)), draw_batches(), names=["stem"])


@pytest.mark.parametrize("mode", [True, False])
def test_modes_momenta_and_weights_are_as_before_and_dropout_is_off(mode: bool) -> None:
    network = make_network(nn.BatchNorm2d(4, momentum=0.3)).train(mode)
    network[1].eval()
    modes = [module.training for module in network.modules()]
    weights = {name: value.clone() for name, value in network.named_parameters()}
    seen: list[bool] = []
    network[2].register_forward_hook(lambda module, *_: seen.append(module.training))
    estimate_statistics(network, draw_batches())
    assert [module.training for module in network.modules()] == modes
    assert (network[1].momentum, network[4].momentum) == (0.3, 0.1)
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
    assert seen == [False] * 4


def test_a_failing_batch_leaves_the_mode_as_it_was() -> None:
    network = make_network(nn.BatchNorm2d(4))
    with pytest.raises(RuntimeError):
        estimate_statistics(network, [torch.zeros(1, 5, 6, 6)])
    assert not any(module.training for module in network.modules())
    assert network[1].momentum == 0.1


def test_a_network_without_batch_norm_needs_no_batch() -> None:
    estimate_statistics(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), [])
