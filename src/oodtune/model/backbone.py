"""timm networks without their classifier, and where their pretrained weights come from."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.layers.drop import DropPath
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg, group_parameters, is_model_pretrained
from timm.models._manipulate import MATCH_PREV_GROUP
from torch import Tensor, nn

from oodtune.config import BackboneConfig
from oodtune.errors import ArtifactError, ConfigError, UserError
from oodtune.model.bundled import bundled_state
from oodtune.model.weights import load_weights

NUM_NAMED = 3
"""How many names an error message lists at most."""


def create_backbone(name: str, image_size: int) -> nn.Module:
    """Build timm's `name` with random weights: normalised pixels (B, 3, S, S) -> penultimate features (B, D).

    S is `image_size`, in pixels; D is `count_features`. The features are what timm's own linear classifier
    would be given; a classifier with layers of its own (LeViT's norm, CAFormer's MLP) is left out whole.
    Nothing in the backbone is random in training mode: all dropout of a trial is our own.
    Raises ConfigError if timm has no such model, or cannot build it for this image size.
    """
    require_known(name)
    try:
        backbone = timm.create_model(name, num_classes=0, drop_rate=0.0, **_size_arguments(name, image_size))
        _silence(backbone)
        shape = _output_shape(backbone, image_size)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"backbone.name, preprocess.size: expected an image classifier and a size it takes, "
            f"found {name!r} at {image_size} ({_one_line(error)}); try {pretrained_size(name)}, its own size"
        ) from error
    if shape != (1, count_features(backbone)):
        raise ConfigError(
            f"backbone.name: expected a model with one feature vector per image, found {name!r}, "
            f"which returns {shape}; choose an image classifier"
        )
    _require_whole_patches(backbone, name, image_size)
    return backbone


def count_features(backbone: nn.Module) -> int:
    """Return D, the width of the penultimate features.

    timm's `num_features` is the width before a hidden layer of the head, as in MobileNetV3 and VGG.
    """
    width = backbone.head_hidden_size
    assert isinstance(width, int)
    return width


def stage_parameters(backbone: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of each stage, from the pixels on.

    Stages are timm's own coarse groups: the stem, then every stage of a convolutional network or every
    block of a transformer. What follows the last (a norm, a hidden layer) belongs to it.
    Raises ConfigError if timm divides this model into no stages.
    """
    try:
        matcher: Any = getattr(backbone, "group_matcher")(coarse=True)  # noqa: B009 - mypy takes it for a tensor
    except (AttributeError, AssertionError):
        raise ConfigError(
            "train.trained_stages: expected a backbone that timm divides into stages, found one that it does not; "
            "set it to 0 for the head alone or to null for everything"
        ) from None
    if isinstance(matcher, dict):
        matcher = {**matcher, "rest": [("", MATCH_PREV_GROUP)]}
    groups: dict[int, list[str]] = group_parameters(backbone, matcher)
    return [groups[number] for number in sorted(groups)]


def pixel_statistics(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, pixels in 0..1, that `backbone` was pretrained with."""
    config: dict[str, Any] = resolve_model_data_config(backbone)  # type: ignore[no-untyped-call]
    return tuple(config["mean"]), tuple(config["std"])


def pretrained_size(name: str) -> int:
    """Return the height in pixels of the images that timm's `name` was pretrained on."""
    config = get_pretrained_cfg(name)
    return config.input_size[1] if config is not None else 224


def require_known(name: str) -> None:
    """Raise ConfigError, with close matches, unless `name` is a timm model, with or without a tag."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known, which = timm.list_models(), "model"
    elif tag and name not in get_arch_pretrained_cfgs(architecture):
        known, which = list(get_arch_pretrained_cfgs(architecture)), "tag"
    else:
        return
    close = difflib.get_close_matches(name, known, n=NUM_NAMED, cutoff=0.5)
    advice = f"did you mean {' or '.join(close)}?" if close else "list them with timm.list_models()"
    raise ConfigError(f"backbone.name: expected a timm model name, found {name!r} (unknown {which}); {advice}")


def pretrained_state(config: BackboneConfig, image_size: int) -> dict[str, Tensor]:
    """Return pretrained weights for `create_backbone(config.name, image_size)`: its whole state dict.

    Position embeddings are resampled by timm where `image_size` is not the size of pretraining.
    Raises ConfigError if the weights are not those of the backbone, UserError if the hub is out of reach.
    """
    require_known(config.name)
    if config.weights == "hub":
        state = _read_hub(config.name)
    elif config.weights == "bundled":
        state = bundled_state(config.name)
    else:
        state = _read_file(Path(config.weights))
    state = _select_backbone(state, config)
    return _resample(state, config.name, image_size)


def _size_arguments(name: str, image_size: int) -> dict[str, Any]:
    """Return timm's `img_size`, which only models made for one image size accept."""
    config = get_pretrained_cfg(name)
    return {"img_size": image_size} if config is not None and config.fixed_input_size else {}


def _silence(backbone: nn.Module) -> None:
    """Switch off the random layers that some timm models (Swin, CoAtNet) have by default."""
    for module in backbone.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0


def _output_shape(backbone: nn.Module, image_size: int) -> tuple[int, ...]:
    backbone.eval()
    with torch.no_grad():  # not inference_mode: what a model caches here must be usable in training
        shape = tuple(backbone(torch.zeros(1, 3, image_size, image_size)).shape)
    backbone.train()
    return shape


def _require_whole_patches(backbone: nn.Module, name: str, image_size: int) -> None:
    """Raise ConfigError if a transformer would leave out the last rows and columns of every image."""
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    patch = patch[0] if isinstance(patch, tuple) else patch
    if image_size % patch:
        lower = image_size // patch * patch
        raise ConfigError(
            f"preprocess.size: expected a multiple of {patch}, the patch size of {name!r}, "
            f"found {image_size}; take {lower or patch} or {lower + patch}"
        )


def _read_hub(name: str) -> Mapping[str, Tensor]:
    if not is_model_pretrained(name):
        raise ConfigError(
            f"backbone.weights: expected a path, found `hub`, which has no weights for {name!r}; "
            "give a .safetensors or .pth file, or choose another backbone.name"
        )
    try:
        # Built with its classifier: without it timm would load leniently.
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"backbone.weights: expected {name!r} from the hub, found no way to get it ({_one_line(error)}); "
            "connect to the network, or set backbone.weights to a .safetensors or .pth file or to `bundled` "
            "(HF_HUB_OFFLINE=1 in the environment: only the hub's cache is read, without retries)"
        ) from error


def _read_file(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict, plain or under the key `state_dict`; a pickle that would run code is refused."""
    if not path.is_file():
        raise ConfigError(
            f"backbone.weights: expected `hub`, `bundled` or a file, found no file {str(path)!r}; correct the path"
        )
    if path.suffix == ".safetensors":
        try:
            return load_weights(path)
        except ArtifactError as error:
            raise ConfigError(f"backbone.weights: {_one_line(error)}; give another file") from error
    if path.suffix != ".pth":
        raise ConfigError(f"backbone.weights: expected a .safetensors or .pth file, found {str(path)!r}; convert it")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its unpickler fails in every way on bytes that are not its own
        raise ConfigError(
            f"backbone.weights: expected a file of tensors only, found {str(path)!r}, which torch refuses "
            f"({type(error).__name__}); save its state dict as .safetensors"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(
            f"backbone.weights: expected a state dict (names to tensors) in {str(path)!r}, "
            "found something else; save the model's state_dict()"
        )
    return state


def _select_backbone(state: Mapping[str, Tensor], config: BackboneConfig) -> dict[str, Tensor]:
    """Return the backbone's part of `state`. Raises ConfigError if any is missing or does not belong."""
    with torch.device("meta"):
        expected = timm.create_model(config.name, num_classes=0).state_dict()
        whole = timm.create_model(config.name).state_dict()
    shared = expected.keys() & state.keys()
    problems = {
        "missing": expected.keys() - shared,
        "of another shape": {name for name in shared if state[name].shape != expected[name].shape},
        "unknown": state.keys() - expected.keys() - whole.keys(),
    }
    if any(problems.values()):
        found = ", ".join(f"{len(bad)} {what} ({_first(bad)})" for what, bad in problems.items() if bad)
        raise ConfigError(
            f"backbone.weights: expected the weights of {config.name!r} in {config.weights!r}, "
            f"found {found}; correct backbone.name or backbone.weights"
        )
    return {name: state[name].to(tensor.dtype) for name, tensor in expected.items()}


def _resample(state: dict[str, Tensor], name: str, image_size: int) -> dict[str, Tensor]:
    """Fit weights of the pretraining size to `image_size`, by timm's own rule for the model."""
    arguments = _size_arguments(name, image_size)
    if not arguments or image_size == pretrained_size(name):
        return state
    arguments["pretrained_cfg_overlay"] = {"state_dict": state}
    try:
        backbone = timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except RuntimeError as error:
        raise ConfigError(
            f"preprocess.size: expected {pretrained_size(name)}, the only size that pretrained weights of "
            f"{name!r} fit, found {image_size}; change preprocess.size or backbone.name"
        ) from error
    return dict(backbone.state_dict())


def _first(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:NUM_NAMED]) + (", ..." if len(ordered) > NUM_NAMED else "")


def _one_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
