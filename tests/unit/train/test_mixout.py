"""Mixout on a small network: what it puts back, and what it leaves alone."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from oodtune.train.mixout import mix, mixed_forward


def make_network() -> nn.Module:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 2), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 8))
    return nn.Sequential(OrderedDict(backbone=backbone, head=nn.Linear(8, 8)))


def move(network: nn.Module, distance: float = 1.0) -> None:
    """Change every weight by `distance`."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(distance)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_mean_over_masks_is_the_weight(probability: float) -> None:
    torch.manual_seed(0)
    weight, initial = torch.full((400_000,), 3.0), torch.full((400_000,), 2.0)
    mixed = mix(weight, initial, probability)
    # Of a weight that moved by 1, the standard deviation is sqrt(p / (1 - p)) <= 3: four errors are 0.019.
    assert mixed.mean().item() == pytest.approx(3.0, abs=0.02)
    assert (mixed == initial).float().mean().item() == pytest.approx(probability, abs=0.004)


def test_elements_are_put_back_or_scaled_away_from_their_initial_value() -> None:
    torch.manual_seed(0)
    weight, initial = torch.randn(50, 20), torch.randn(50, 20)
    mixed = mix(weight, initial, 0.7)
    replaced = mixed == initial
    assert 0.6 < replaced.float().mean().item() < 0.8
    assert torch.allclose(mixed[~replaced], (weight - 0.7 * initial)[~replaced] / 0.3, atol=1e-5)


def test_gradient_flows_only_through_what_was_not_put_back() -> None:
    torch.manual_seed(0)
    weight, initial = torch.randn(50, 20, requires_grad=True), torch.randn(50, 20)
    mixed = mix(weight, initial, 0.7)
    mixed.sum().backward()
    assert weight.grad is not None
    expected = torch.where(mixed == initial, 0.0, 1 / 0.3)
    assert torch.allclose(weight.grad, expected)


def test_probability_zero_is_the_network_itself() -> None:
    network = make_network()
    assert mixed_forward(network, 0.0) is network


def test_weights_that_have_not_moved_are_not_changed(images: Tensor) -> None:
    network = make_network()
    assert torch.equal(mixed_forward(network, 0.9)(images), network(images))


def test_what_was_initial_is_settled_when_the_forward_pass_is_made(images: Tensor) -> None:
    network, other = make_network(), make_network()
    forward = mixed_forward(network, 0.999999)
    for name, weight in network.named_parameters():
        if name in {"backbone.0.weight", "backbone.3.weight"}:
            weight.data.add_(1.0)
    assert torch.allclose(forward(images), other(images))
    assert not torch.allclose(network(images), other(images))


def test_matrices_of_the_backbone_are_mixed_and_nothing_else(images: Tensor) -> None:
    network = make_network()
    forward = mixed_forward(network, 0.9)
    move(network)
    forward(images).sum().backward()
    with_zeros = {name for name, weight in network.named_parameters() if (weight.grad == 0).float().mean() > 0.5}
    assert with_zeros == {"backbone.0.weight", "backbone.3.weight"}


def test_every_step_has_its_own_masks_which_follow_from_its_seed(images: Tensor) -> None:
    network = make_network()
    forward = mixed_forward(network, 0.5)
    move(network)

    def at(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return forward(images).detach()

    assert torch.equal(at(1), at(1))
    assert not torch.equal(at(1), at(2))


def test_the_networks_own_weights_and_their_names_stay(images: Tensor) -> None:
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    mixed_forward(network, 0.9)(images)
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert all(weight.requires_grad for weight in network.parameters())


def test_frozen_weights_are_not_copied_or_mixed(images: Tensor) -> None:
    network = make_network()
    network.get_submodule("backbone").requires_grad_(False)
    forward = mixed_forward(network, 0.9)
    move(network)
    assert torch.equal(forward(images), network(images))
