import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from oodtune.config import PreprocessConfig
from oodtune.errors import ConfigError
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


def trained_by(network: Network, pixels: Tensor) -> set[str]:
    """Return the names of the parameters that get a gradient, without the last two parts."""
    network.zero_grad()
    network(pixels).square().sum().backward()
    return {name.rsplit(".", 2)[0] for name, weight in network.named_parameters() if weight.grad is not None}


def statistics_of(network: Network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers() if "running_" in name}


def moved_by(network: Network, pixels: Tensor) -> set[str]:
    """Return the names of the statistics that a forward pass changes."""
    before = statistics_of(network)
    network(pixels)
    return {name for name, value in statistics_of(network).items() if not torch.equal(value, before[name])}


def test_no_trained_stage_is_the_head_alone(pixels: Tensor) -> None:
    network = make_network("resnet18", dropout=0.0).freeze(trained_stages=0, batch_norm=False).train()
    network(pixels).square().sum().backward()
    assert {name for name, weight in network.named_parameters() if weight.grad is not None} == {
        "head.weight",
        "head.bias",
    }
    assert not network.features(pixels).requires_grad  # nothing is kept for a backward pass through the backbone
    assert moved_by(network, pixels) == set()
    assert not network.statistics_move


def test_the_last_stages_are_trained_and_no_gradient_goes_further(pixels: Tensor) -> None:
    network = make_network("resnet18", dropout=0.0).freeze(trained_stages=2).train()
    reached: list[bool] = []
    network.get_submodule("backbone.layer2").register_forward_hook(
        lambda _, inputs, output: reached.append(output.requires_grad)
    )
    assert {name.split(".")[1] for name in trained_by(network, pixels) if name != "head"} == {"layer3", "layer4"}
    assert reached == [False]


def test_as_many_stages_as_there_are_is_everything(pixels: Tensor) -> None:
    network = make_network("resnet18", dropout=0.0).freeze(trained_stages=5)
    assert all(weight.requires_grad for weight in network.parameters())


def test_more_stages_than_there_are_is_an_error_that_says_how_many() -> None:
    with pytest.raises(ConfigError, match=r"train.trained_stages: expected at most 5.*found 6"):
        make_network("resnet18", dropout=0.0).freeze(trained_stages=6)


def test_freezing_anew_forgets_what_was_frozen_before() -> None:
    network = make_network("resnet18", dropout=0.0).freeze(trained_stages=0).freeze()
    assert all(weight.requires_grad for weight in network.parameters())


def test_weights_that_timm_never_trains_stay_frozen() -> None:
    network = make_network("resnet18", dropout=0.0)
    fixed = network.backbone.get_parameter("conv1.weight").requires_grad_(False)
    again = Network(network.normalise, network.backbone, network.head, 0.0).freeze()
    assert not fixed.requires_grad
    assert again.backbone.get_parameter("bn1.weight").requires_grad


@pytest.mark.parametrize(("trained_stages", "moving"), [(None, 40), (1, 10)])
def test_free_batch_norm_moves_the_statistics_of_trained_stages_in_training_only(
    trained_stages: int | None, moving: int, pixels: Tensor
) -> None:
    network = make_network("resnet18", dropout=0.0).freeze(trained_stages, batch_norm=False)
    assert network.statistics_move
    assert len(moved_by(network.train(), pixels)) == moving  # mean and variance of each norm
    assert moved_by(network.eval(), pixels) == set()
    assert len(moved_by(network.train(), pixels)) == moving


def test_free_batch_norm_normalises_by_the_batch(pixels: Tensor) -> None:
    network = make_network("resnet18", dropout=0.0).freeze(batch_norm=False).train()
    seen: list[Tensor] = []
    norm = network.get_submodule("backbone.layer1.0.bn1")
    norm.register_forward_hook(
        lambda _, inputs, output: seen.extend([inputs[0], output.clone()])
    )  # ReLU comes in place
    network(pixels)
    given, normalised = seen
    variance, mean = torch.var_mean(given, (0, 2, 3), correction=0, keepdim=True)
    assert torch.allclose(normalised, (given - mean) / (variance + 1e-5).sqrt(), atol=1e-4)


def test_a_copy_of_a_network_moves_its_own_statistics(pixels: Tensor) -> None:
    network = make_network("resnet18", dropout=0.0).freeze(batch_norm=False).train()
    other = copy.deepcopy(network)
    before = statistics_of(network)
    assert len(moved_by(other.train(), pixels)) == 40
    assert all(torch.equal(value, before[name]) for name, value in statistics_of(network).items())


def test_a_network_without_batch_norm_has_no_statistics_to_move() -> None:
    assert not make_network("vit_tiny_patch16_224", dropout=0.0).freeze(batch_norm=False).statistics_move
