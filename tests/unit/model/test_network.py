import pytest
import timm
import torch
from torch import Tensor, nn

from oodtune.config import PreprocessConfig
from oodtune.model.bundled import bundled_state
from oodtune.model.network import Network, build_network
from oodtune.trial import NetworkSpec

torch.set_num_threads(1)

STOCHASTIC_BY_DEFAULT = ("fasternet_t1", "cpubone_nano")  # timm gives them stochastic depth and dropout


def make_network(backbone: str, dropout: float, num_classes: int = 8) -> Network:
    torch.manual_seed(0)
    classes = tuple(f"class{index}" for index in range(num_classes))
    return build_network(NetworkSpec(backbone=backbone, classes=classes, preprocess=PreprocessConfig(size=32)), dropout)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Return random pixels (4, 3, 32, 32)."""
    return torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(1)).float()


def head_inputs(network: Network, pixels: Tensor) -> Tensor:
    """Return what the head is given (B, D) in a forward pass."""
    given: list[Tensor] = []
    handle = network.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    network(pixels)
    handle.remove()
    return given[0].detach()


def test_logits_are_timms_when_the_head_is_timms_classifier() -> None:
    state = bundled_state("tf_efficientnet_lite0")
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(state)
    network = make_network("tf_efficientnet_lite0", dropout=0.9, num_classes=1000).eval()
    network.backbone.load_state_dict({key: state[key] for key in network.backbone.state_dict()})
    network.head.load_state_dict({"weight": state["classifier.weight"], "bias": state["classifier.bias"]})
    pixels = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(2)).float()
    with torch.inference_mode():
        expected = whole((pixels / 255 - 0.5) / 0.5)
        assert torch.allclose(network(pixels), expected, atol=1e-4)
    assert not torch.allclose(expected[0], expected[1], atol=0.1)


def test_normalise_maps_pixels_to_the_backbones_own_range() -> None:
    black_grey_white = torch.tensor([0.0, 127.5, 255.0]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    efficientnet = make_network("tf_efficientnet_lite0", dropout=0.0)
    assert torch.allclose(efficientnet.normalise(black_grey_white)[:, 0, 0, 0], torch.tensor([-1.0, 0.0, 1.0]))
    resnet = make_network("resnet18", dropout=0.0)
    white = (1.0 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(resnet.normalise(black_grey_white)[2, :, 0, 0], white)


def test_evaluation_mode_ignores_dropout(pixels: Tensor) -> None:
    large, plain = make_network("resnet18", dropout=0.9).eval(), make_network("resnet18", dropout=0.0).eval()
    with torch.inference_mode():
        assert torch.equal(large(pixels), plain(pixels))


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet18",
        "tf_efficientnet_lite0",
        "mobilenetv3_small_050",
        "vit_tiny_patch16_224",
        *STOCHASTIC_BY_DEFAULT,
    ],
)
def test_zero_dropout_leaves_nothing_random_in_training_mode(backbone: str, pixels: Tensor) -> None:
    network = make_network(backbone, dropout=0.0)
    with torch.no_grad():
        assert torch.equal(network.train()(pixels), network.eval()(pixels))


def test_dropout_masks_the_penultimate_features_and_nothing_else(pixels: Tensor) -> None:
    network = make_network("tf_efficientnet_lite0", dropout=0.9).train()
    before = network.features(pixels).detach()  # (4, 1280), in training mode
    assert torch.equal(before, network.eval().features(pixels))
    given = head_inputs(network.train(), pixels)  # (4, 1280)
    kept = given != 0
    assert torch.allclose(given[kept], 10.0 * before[kept], rtol=1e-5)
    assert not torch.equal(kept[0], kept[1])  # every image has its own mask


@pytest.mark.parametrize(("dropout", "keep"), [(0.5, 0.5), (0.9, 0.1), (0.95, 0.05)])
def test_share_of_kept_features_is_one_minus_dropout(dropout: float, keep: float) -> None:
    network = make_network("tf_efficientnet_lite0", dropout)
    features = torch.ones(100, 1280)
    share = (network.dropout(features) != 0).float().mean().item()
    # 128,000 draws: four standard deviations are at most 4 * sqrt(0.25 / 128000) = 0.0056
    assert share == pytest.approx(keep, abs=0.006)


def test_training_leaves_batch_norm_statistics_as_they_were(pixels: Tensor) -> None:
    network = make_network("tf_efficientnet_lite0", dropout=0.9).train()
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    network(pixels).sum().backward()
    assert any("running_var" in name for name in statistics)
    assert all(torch.equal(value, statistics[name]) for name, value in network.named_buffers())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight.grad is not None for norm in norms)  # scale and shift are trained


def test_every_trained_weight_gets_a_gradient(pixels: Tensor) -> None:
    network = make_network("resnet18", dropout=0.9).train()
    network(pixels).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
