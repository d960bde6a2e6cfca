"""Penultimate features of a frozen backbone: every image of a cache goes through it once."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from oodtune.config import BackboneConfig
from oodtune.data.cache import Cache, Examples
from oodtune.data.index import Split
from oodtune.errors import DataError
from oodtune.model.backbone import pretrained_state
from oodtune.model.device import choose_device
from oodtune.model.inference import map_images
from oodtune.model.network import Network, build_network
from oodtune.progress import Progress, progress_bar
from oodtune.trial import NetworkSpec

TRAINED_OR_CHOSEN_BY: tuple[Split, ...] = ("in", "out")
"""Features are extracted of these splits; a test-split stays unseen."""


class Features(NamedTuple):
    """Penultimate features (N, D), float32, and labels (N,) of one split of one domain."""

    features: Tensor
    labels: Tensor


SplitFeatures = Mapping[tuple[str, Split], Features]
"""(domain, split) -> its features."""


def network_spec(cache: Cache, backbone: BackboneConfig) -> NetworkSpec:
    """Return the network that `backbone` makes for the classes and the pixels of `cache`."""
    return NetworkSpec(backbone=backbone.name, classes=cache.classes, preprocess=cache.preprocess)


def pretrained_network(cache: Cache, backbone: BackboneConfig) -> Network:
    """Build a network in evaluation mode: pretrained backbone, random head. Raises as `pretrained_state` does."""
    network = build_network(network_spec(cache, backbone))
    network.backbone.load_state_dict(pretrained_state(backbone, cache.preprocess.size))
    return network.eval()


def extract_features(network: Network, cache: Cache, device: str, title: str = "Features") -> SplitFeatures:
    """Return the features of every domain's in-split and out-split, on the CPU; one bar shows all images.

    Raises DataError if a split is empty, ConfigError if there is no such device.
    """
    chosen = choose_device(device)
    parts = {
        (domain, split): cache.examples(domain, split) for domain in cache.domains for split in TRAINED_OR_CHOSEN_BY
    }
    _require_images(parts, cache.artifact.path)
    num_images = sum(len(examples.labels) for examples in parts.values())
    features: dict[tuple[str, Split], Features] = {}
    done = 0
    network.to(chosen)
    with progress_bar(title) as progress:
        for (domain, split), examples in parts.items():
            report = partial(_report_part, progress, done, num_images, f"{domain}, {split}-split")
            extracted = map_images(network.features, examples.images, chosen, progress=report)
            features[domain, split] = Features(extracted, torch.from_numpy(examples.labels))
            done += len(examples.labels)
    network.cpu()
    return features


def _report_part(progress: Progress, before: int, total: int, name: str, done: int, _: int, what: str) -> None:
    progress(before + done, total, f"{what} of {name}")


def _require_images(parts: Mapping[tuple[str, Split], Examples], path: Path) -> None:
    for (domain, split), examples in parts.items():
        if len(examples.labels) == 0:
            raise DataError(
                f"{path}: expected images in the {split}-split of domain {domain!r}, found none; "
                "give the domain more images, or leave it out, and run `oodtune prepare` again"
            )
