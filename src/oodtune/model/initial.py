"""The initial state that all trials of one target domain share.

Weights can be averaged only if they were fine-tuned from one initialisation, head included
(Rame et al., "Diverse Weight Averaging", arXiv 2205.09739, section 2). The backbone is the pretrained
one for every target; the head is a linear probe of that target's source domains.
"""

from pathlib import Path

from torch import Tensor

from oodtune.artifact import Artifact
from oodtune.config import Section
from oodtune.errors import ArtifactError
from oodtune.model.network import Network, build_network
from oodtune.model.weights import load_weights, save_weights
from oodtune.trial import NetworkSpec

BACKBONE_FILE = "backbone.safetensors"


class InitialStates(Section):
    """The details of an `init` artifact."""

    network: NetworkSpec
    init_digests: dict[str, str]
    """Target domain -> digest of its whole initial state."""
    probe_accuracy: dict[str, dict[str, float]]
    """Target domain -> source domain -> out-split accuracy of the probed head, 0..1."""


def head_file(target_domain: str) -> str:
    return f"heads/{target_domain}.safetensors"


def save_backbone(network: Network, directory: Path) -> None:
    save_weights(network.backbone.state_dict(), directory / BACKBONE_FILE)


def save_head(network: Network, directory: Path, target_domain: str) -> None:
    save_weights(network.head.state_dict(), directory / head_file(target_domain))


def initial_network(init: Artifact, target_domain: str, dropout: float) -> tuple[Network, str]:
    """Build the network of a trial in its initial state; returns it with the state's digest.

    Raises ArtifactError if `init` holds no head for `target_domain`.
    """
    states = InitialStates.model_validate(init.details)
    if target_domain not in states.init_digests:
        raise ArtifactError(
            f"{init.path}: expected an initial state for target domain {target_domain!r}, found only "
            f"{sorted(states.init_digests)}; add it to sweep.target_domains and run `oodtune init` again"
        )
    network = build_network(states.network, dropout)
    network.backbone.load_state_dict(load_weights(init.path / BACKBONE_FILE))
    network.head.load_state_dict(load_weights(init.path / head_file(target_domain)))
    return network, states.init_digests[target_domain]


def load_network(spec: NetworkSpec, weights_path: Path) -> Network:
    """Build the network of `spec` with the weights at `weights_path`, in evaluation mode."""
    network = build_network(spec)
    state: dict[str, Tensor] = load_weights(weights_path)
    network.load_state_dict(state)
    network.eval()
    return network
