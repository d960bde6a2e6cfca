"""`cache` -> `init`: the pretrained backbone, and for every target domain the head its trials start from."""

from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from oodtune.artifact import create_artifact
from oodtune.config import BackboneConfig, Config, Name, ProbeConfig, StageParams
from oodtune.data.cache import Cache, open_cache
from oodtune.data.index import Split
from oodtune.evaluate.metrics import accuracy
from oodtune.model.backbone import pretrained_state
from oodtune.model.device import choose_device
from oodtune.model.inference import map_images
from oodtune.model.initial import InitialStates, save_backbone, save_head
from oodtune.model.network import Network, build_network
from oodtune.model.weights import digest_weights
from oodtune.progress import progress_bar
from oodtune.train.probe import fit_probe
from oodtune.trial import NetworkSpec


class Features(NamedTuple):
    """Penultimate features (N, D) and labels (N,) of one split of one domain."""

    features: Tensor
    labels: Tensor


class Params(StageParams):
    backbone: BackboneConfig
    probe: ProbeConfig
    target_domains: tuple[Name, ...]
    """The one key of `sweep` that is used here: a new seed probes no head again."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(backbone=config.backbone, probe=config.probe, target_domains=config.sweep.target_domains)


def run(cache: Path | str, out: Path | str, params: Params, device: str = "auto") -> None:
    """Write an `init` artifact.

    Features of the frozen backbone are extracted once; the head of a target domain is fitted on the
    in-splits of the other domains only, so no image of the target enters its trials.
    """
    opened = open_cache(Path(cache))
    for target in params.target_domains:
        opened.source_domains(target)  # a wrong name is found before any work
    network = _pretrained_network(opened, params.backbone)
    features = _extract_all(network, opened, device)
    with create_artifact(Path(out), "init", params, {"cache": opened.artifact}) as writer:
        save_backbone(network, writer.path)
        digests, probe_accuracy = {}, {}
        for target in params.target_domains:
            sources = opened.source_domains(target)
            probe_accuracy[target] = _probe(network, features, sources, params.probe)
            save_head(network, writer.path, target)
            digests[target] = digest_weights(network.state_dict())
        spec = _network_spec(opened, params.backbone)
        states = InitialStates(network=spec, init_digests=digests, probe_accuracy=probe_accuracy)
        writer.details.update(states.model_dump(mode="json"))


def _network_spec(cache: Cache, backbone: BackboneConfig) -> NetworkSpec:
    return NetworkSpec(backbone=backbone.name, classes=cache.classes, preprocess=cache.preprocess)


def _pretrained_network(cache: Cache, backbone: BackboneConfig) -> Network:
    network = build_network(_network_spec(cache, backbone))
    network.backbone.load_state_dict(pretrained_state(backbone, cache.preprocess.size))
    return network.eval()


def _extract_all(network: Network, cache: Cache, device: str) -> dict[tuple[str, Split], Features]:
    chosen = choose_device(device)
    network.to(chosen)
    features: dict[tuple[str, Split], Features] = {}
    splits: tuple[Split, ...] = ("in", "out")
    for domain in cache.domains:
        for split in splits:
            examples = cache.examples(domain, split)
            with progress_bar(f"Features of {domain} ({split}-split)") as progress:
                extracted = map_images(network.features, examples.images, chosen, progress=progress)
            features[domain, split] = Features(extracted, torch.from_numpy(examples.labels))
    network.cpu()
    return features


def _probe(
    network: Network,
    features: dict[tuple[str, Split], Features],
    sources: tuple[str, ...],
    config: ProbeConfig,
) -> dict[str, float]:
    """Put the probed head of `sources` into `network`; return its accuracy on each source out-split."""
    inner = [features[domain, "in"] for domain in sources]
    head = fit_probe(
        torch.cat([one.features for one in inner]),
        torch.cat([one.labels for one in inner]),
        num_classes=network.head.out_features,
        config=config,
    )
    network.head.load_state_dict(head.state_dict())
    with torch.inference_mode():
        return {
            domain: accuracy(network.classify(outer.features).numpy(), outer.labels.numpy())
            for domain in sources
            for outer in [features[domain, "out"]]
        }
