"""In every family, our dropout masks the penultimate features, and nothing else in the network is random."""

from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from oodtune.config import PreprocessConfig
from oodtune.model.backbone import count_features
from oodtune.model.network import Network, build_network
from oodtune.trial import NetworkSpec

torch.set_num_threads(1)

DROPOUT = 0.9
FAMILIES = {  # name -> image size
    "resnet10t": 64,
    "test_efficientnet": 64,
    "tf_efficientnet_lite0": 64,
    "mobilenetv3_small_050": 64,  # its head has a hidden layer after pooling
    "convnext_atto": 64,
    "vit_tiny_patch16_224": 64,
    "vit_small_patch14_dinov2": 56,
    "vit_xsmall_patch16_clip_224": 64,
    "vit_medium_patch32_clip_224": 64,
    "swin_tiny_patch4_window7_224": 64,  # has stochastic depth unless told otherwise
    "test_coatnet": 64,  # likewise
}


@cache
def make_network(name: str) -> Network:
    """Return a network in training mode whose logits are what its head is given."""
    torch.manual_seed(0)
    spec = NetworkSpec(backbone=name, classes=("any",), preprocess=PreprocessConfig(size=FAMILIES[name]))
    network = build_network(spec, DROPOUT)
    width = count_features(network.backbone)
    network.head = nn.Linear(width, width)
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(width))
        network.head.bias.zero_()
    return network.train()


def make_pixels(name: str) -> Tensor:
    size = FAMILIES[name]
    return 255 * torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_those_of_evaluation_in_training_mode_too(name: str) -> None:
    network, pixels = make_network(name), make_pixels(name)
    with torch.no_grad():
        first, second = network.features(pixels), network.features(pixels)
        evaluated = network.eval().features(pixels)
        network.train()
    assert torch.equal(first, second)
    assert torch.equal(first, evaluated)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_the_heads_of_features_times_a_mask_of_zero_or_one_over_keep(name: str) -> None:
    network, pixels = make_network(name), make_pixels(name)
    with torch.no_grad():
        features, logits = network.features(pixels), network(pixels)
    there = features != 0  # a feature that is zero does not show its mask
    mask = logits[there] / features[there]
    kept = mask != 0
    assert torch.allclose(mask[kept], torch.tensor(1 / (1 - DROPOUT)), rtol=1e-5)
    assert (logits[~there] == 0).all()
    share, deviation = kept.float().mean().item(), (DROPOUT * (1 - DROPOUT) / kept.numel()) ** 0.5
    assert share == pytest.approx(1 - DROPOUT, abs=4 * deviation)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_image_has_a_mask_of_its_own_at_every_step(name: str) -> None:
    network, pixels = make_network(name), make_pixels(name)
    with torch.no_grad():
        first, second = network(pixels) != 0, network(pixels) != 0
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_as_many_as_timms_own_classifier_takes(name: str) -> None:
    with torch.device("meta"):
        whole: Any = timm.create_model(name, num_classes=5)  # DINOv2 has no classifier unless asked
    backbone: Any = make_network(name).backbone
    classifier = whole.get_classifier()
    assert isinstance(classifier, nn.Linear)
    assert count_features(backbone) == classifier.in_features == whole.head_hidden_size == backbone.head_hidden_size
    assert isinstance(backbone.get_classifier(), nn.Identity)
