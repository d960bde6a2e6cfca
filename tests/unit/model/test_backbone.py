import itertools
import os
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from oodtune.config import BackboneConfig
from oodtune.errors import ConfigError, UserError
from oodtune.model.backbone import (
    count_features,
    create_backbone,
    pixel_statistics,
    pretrained_state,
    stage_parameters,
)

torch.set_num_threads(1)  # threads collapse when test workers share the cores

FAMILIES = {  # name -> image size
    "resnet18": 32,
    "tf_efficientnet_lite0": 32,
    "mobilenetv3_small_050": 32,  # its head has a hidden layer: num_features is not the width of its features
    "convnext_atto": 32,
    "vit_tiny_patch16_224": 224,
}


def save_state(model: nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return timm.create_model("resnet18", num_classes=5)


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_what_timms_own_classifier_is_given(name: str) -> None:
    whole = timm.create_model(name, num_classes=5).eval()
    backbone = create_backbone(name, FAMILIES[name]).eval()
    state = whole.state_dict()
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
    given: list[Tensor] = []
    whole.get_classifier().register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    images = torch.randn(2, 3, FAMILIES[name], FAMILIES[name], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole(images)
        features = backbone(images)  # (2, D)
    assert features.shape == (2, count_features(backbone))
    assert torch.equal(features, given[0])
    assert features.std() > 0


@pytest.mark.parametrize(
    ("name", "num_stages", "last"),
    [
        ("resnet18", 5, {"layer4"}),
        ("tf_efficientnet_lite0", 8, {"blocks.6", "conv_head", "bn2"}),
        ("mobilenetv3_small_050", 7, {"blocks.5", "conv_head"}),
        ("convnext_atto", 5, {"stages.3", "head.norm"}),
        ("vit_tiny_patch16_224", 13, {"blocks.11", "norm"}),
        ("vit_small_patch14_dinov2", 13, {"blocks.11", "norm"}),
        ("vit_xsmall_patch16_clip_224", 11, {"blocks.9", "norm"}),
        ("swin_tiny_patch4_window7_224", 5, {"layers.3", "norm"}),
    ],
)
def test_stages_are_the_stem_and_timms_own_and_what_follows_the_last_is_in_it(
    name: str, num_stages: int, last: set[str]
) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    stages = stage_parameters(backbone)
    assert len(stages) == num_stages
    assert sorted(itertools.chain(*stages)) == sorted(name for name, _ in backbone.named_parameters())
    assert all(name.startswith(tuple(f"{part}." for part in last)) for name in stages[-1])
    assert all(any(name.startswith(f"{part}.") for name in stages[-1]) for part in last)


@pytest.mark.parametrize("name", ["poolformer_s12", "rdnet_tiny"])
def test_backbone_that_timm_does_not_divide_is_an_error_with_advice(name: str) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    with pytest.raises(ConfigError, match=r"train.trained_stages: expected .* 0 for the head alone or to null"):
        stage_parameters(backbone)


def test_transformer_is_built_for_the_image_size() -> None:
    assert create_backbone("vit_tiny_patch16_224", 32)(torch.zeros(2, 3, 32, 32)).shape == (2, 192)


def test_image_that_is_no_whole_number_of_patches_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 16.*found 40; take 32 or 48"):
        create_backbone("vit_tiny_patch16_224", 40)


def test_image_size_that_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"preprocess.size: expected .* found 'bat_resnext26ts' at 96.*try 256"):
        create_backbone("bat_resnext26ts", 96)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("resnt50", r"found 'resnt50'.*did you mean resnet50"),
        ("resnet50.a1_in2k", r"found 'resnet50.a1_in2k'.*did you mean resnet50.a1_in1k"),
        ("hf-hub:someone/resnet50", "unknown model"),
        ("zzz", "list_models"),
    ],
)
def test_unknown_model_is_an_error_with_close_names(name: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        create_backbone(name, 32)
    assert "\n" not in str(caught.value)


def test_pixel_statistics_are_the_models_own() -> None:
    assert pixel_statistics(create_backbone("tf_efficientnet_lite0", 32)) == ((0.5,) * 3, (0.5,) * 3)
    assert pixel_statistics(create_backbone("resnet18", 32)) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("form", ["safetensors", "pth", "pth with state_dict"])
def test_file_gives_every_weight_but_the_classifier(resnet: nn.Module, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"weights.{form.split(maxsplit=1)[0]}"
    if form == "safetensors":
        save_file(resnet.state_dict(), path)
    else:
        torch.save(resnet.state_dict() if form == "pth" else {"state_dict": resnet.state_dict()}, path)
    state = pretrained_state(BackboneConfig(name="resnet18", weights=str(path)), 32)
    create_backbone("resnet18", 32).load_state_dict(state)
    assert resnet.state_dict().keys() - state.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(state[key], resnet.state_dict()[key]) for key in state)


def test_half_precision_file_gives_single_precision_weights(resnet: nn.Module, tmp_path: Path) -> None:
    save_file({key: value.half() for key, value in resnet.state_dict().items()}, tmp_path / "half.safetensors")
    state = pretrained_state(BackboneConfig(name="resnet18", weights=str(tmp_path / "half.safetensors")), 32)
    assert state["conv1.weight"].dtype == torch.float32
    assert state["bn1.num_batches_tracked"].dtype == torch.int64


def test_position_embeddings_alone_change_with_the_image_size(tmp_path: Path) -> None:
    whole = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    config = BackboneConfig(name="vit_tiny_patch16_224", weights=str(save_state(whole, tmp_path / "vit.pth")))
    native, small = pretrained_state(config, 224), pretrained_state(config, 32)
    create_backbone("vit_tiny_patch16_224", 32).load_state_dict(small)
    assert {key for key in small if not torch.equal(small[key], native[key])} == {"pos_embed"}
    assert small["pos_embed"].shape == (1, 1 + 2 * 2, 192)
    assert torch.equal(native["pos_embed"], whole.state_dict()["pos_embed"])


def test_weights_that_fit_one_image_size_only_are_refused_at_another(tmp_path: Path) -> None:
    path = save_state(timm.create_model("levit_128s"), tmp_path / "levit.pth")
    with pytest.raises(ConfigError, match=r"expected 224, the only size.*found 96"):
        pretrained_state(BackboneConfig(name="levit_128s", weights=str(path)), 96)


def test_weights_of_another_model_are_refused_by_key(resnet: nn.Module, tmp_path: Path) -> None:
    path = save_state(resnet, tmp_path / "resnet18.pth")
    with pytest.raises(ConfigError, match=r"weights of 'resnet34'.*96 missing \(layer1.2.bn1.bias, .*, \.\.\.\)"):
        pretrained_state(BackboneConfig(name="resnet34", weights=str(path)), 32)
    with pytest.raises(ConfigError, match=r"of another shape \(bn1.bias"):
        pretrained_state(BackboneConfig(name="mobilenetv3_small_050", weights=str(path)), 32)


def test_one_surplus_weight_is_refused(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save({**resnet.state_dict(), "layer9.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ConfigError, match=r"found 1 unknown \(layer9.weight\)"):
        pretrained_state(BackboneConfig(name="resnet18", weights=str(tmp_path / "more.pth")), 32)


class Attack:
    """Unpickled carelessly, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Attack(tmp_path / "was_run")}, tmp_path / "attack.pth")
    with pytest.raises(ConfigError, match="expected a file of tensors only") as caught:
        pretrained_state(BackboneConfig(name="resnet18", weights=str(tmp_path / "attack.pth")), 32)
    assert not (tmp_path / "was_run").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("absent.pth", "found no file"),
        ("text.safetensors", "expected a safetensors file"),
        ("text.pth", "expected a file of tensors only"),
        ("text.onnx", r"expected a .safetensors or .pth file"),
        ("tensor.pth", "expected a state dict"),
    ],
)
def test_file_that_is_no_state_dict_is_refused(tmp_path: Path, name: str, match: str) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("these are not weights")
    elif name.startswith("tensor"):
        torch.save(torch.zeros(2), tmp_path / name)
    with pytest.raises(ConfigError, match=match) as caught:
        pretrained_state(BackboneConfig(name="resnet18", weights=str(tmp_path / name)), 32)
    assert "\n" not in str(caught.value)


def test_hub_out_of_reach_is_one_line_with_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"'resnet18' from the hub.*set backbone.weights to.*HF_HUB_OFFLINE") as caught:
        pretrained_state(BackboneConfig(name="resnet18", weights="hub"), 32)
    assert "\n" not in str(caught.value)


def test_hub_has_no_weights_for_some_models() -> None:
    with pytest.raises(ConfigError, match="no weights for 'darknet17'"):
        pretrained_state(BackboneConfig(name="darknet17", weights="hub"), 32)
