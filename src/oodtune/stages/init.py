"""`cache` -> `init`: the pretrained backbone, and for every target domain the head its trials start from."""

from pathlib import Path
from typing import TYPE_CHECKING, Self

from oodtune.artifact import create_artifact
from oodtune.config import BackboneConfig, Config, HeldOut, ProbeConfig, StageParams
from oodtune.data.cache import Cache, open_cache
from oodtune.evaluate.metrics import accuracy
from oodtune.stages.shared import make_shared

if TYPE_CHECKING:
    from oodtune.model.network import Network
    from oodtune.stages.features import SplitFeatures


class Params(StageParams):
    backbone: BackboneConfig
    probe: ProbeConfig
    target_domains: tuple[HeldOut, ...]
    """The one key of `sweep` that is used here: a new seed probes no head again."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(backbone=config.backbone, probe=config.probe, target_domains=config.sweep.target_domains)


def run(cache: Path | str, out: Path | str, params: Params, device: str = "auto", shared_dir: Path | str = "") -> None:
    """Write an `init` artifact.

    Features of the frozen backbone are extracted once; the head of a target domain is fitted on the
    in-splits of the other domains only, so no image of the target enters its trials. With a `shared_dir`, it is
    kept there and `out` refers to it.
    """
    opened = open_cache(Path(cache))
    for target in params.target_domains:
        opened.source_domains(target)  # a wrong name is found before any work
    made_from = {"cache": opened.artifact.digest, "params": params.to_json()}
    make_shared(Path(out), "init", made_from, lambda place: _write(place, opened, params, device), shared_dir)


def _write(out: Path, opened: Cache, params: Params, device: str) -> None:
    from oodtune.model.initial import InitialStates, save_backbone, save_head
    from oodtune.model.weights import digest_weights
    from oodtune.stages.features import extract_features, network_spec, pretrained_network

    network = pretrained_network(opened, params.backbone)
    features = extract_features(network, opened, device)
    with create_artifact(out, "init", params, {"cache": opened.artifact}) as writer:
        save_backbone(network, writer.path)
        digests, probe_accuracy = {}, {}
        for target in params.target_domains:
            sources = opened.source_domains(target)
            probe_accuracy[target] = _probe(network, features, sources, params.probe)
            save_head(network, writer.path, target)
            digests[target] = digest_weights(network.state_dict())
        spec = network_spec(opened, params.backbone)
        states = InitialStates(network=spec, init_digests=digests, probe_accuracy=probe_accuracy)
        writer.details.update(states.model_dump(mode="json"))


def _probe(
    network: "Network",
    features: "SplitFeatures",
    sources: tuple[str, ...],
    config: ProbeConfig,
) -> dict[str, float]:
    """Put the probed head of `sources` into `network`; return its accuracy on each source out-split."""
    import torch

    from oodtune.train.probe import fit_probe

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
