"""Batch-norm statistics of weights that no training has seen: averages of trials, for example."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from oodtune.errors import ArtifactError


@torch.no_grad()
def estimate_statistics(network: nn.Module, batches: Iterable[Tensor], names: Collection[str] | None = None) -> None:
    """Set the statistics of batch norms to the means over `batches` of each batch's mean and unbiased variance.

    `batches`, one or more, are what `network` takes: pixels (B, 3, S, S), float32 in 0..255 on its device. All
    weigh the same, so they should be of one size. Averaged weights need this where statistics moved in
    training: Izmailov et al., "Averaging weights", arXiv 1803.05407, section 3.2.
    `names` are the norms to be set, as `network.named_modules` has them (None: all). The rest of the network
    is in evaluation mode meanwhile: no dropout, other statistics as they are. Afterwards each module is in
    the mode it was in. Raises ArtifactError if the network has no norm of one of the `names`.
    """
    norms = _find_norms(network, names)
    if not norms:
        return
    with _moving(network, norms):
        count = 0
        for count, batch in enumerate(batches, 1):
            for norm in norms:
                norm.momentum = 1.0 / count  # type: ignore[assignment] # None is not understood by timm's EvoNorm
            network(batch)
    assert count > 0, "statistics need a batch"


def moved_norms(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the norms whose statistics differ between two states, a trial's and the initial one's."""
    return sorted(
        {
            name.rpartition(".")[0]
            for name, tensor in first.items()
            if name.endswith((".running_mean", ".running_var")) and not torch.equal(tensor, second[name])
        }
    )


def _find_norms(network: nn.Module, names: Collection[str] | None) -> list[nn.Module]:
    """Norms that never move, timm's FrozenBatchNormAct2d, have no momentum."""
    norms = {
        name: module
        for name, module in network.named_modules()
        if module._buffers.get("running_var") is not None and hasattr(module, "momentum")
    }
    missing = sorted(set(names or ()) - norms.keys())
    if missing:
        raise ArtifactError(
            f"statistics: expected a batch norm {missing[0]!r} in the network, found none; "
            f"pass weights of the same backbone"
        )
    return [norm for name, norm in norms.items() if names is None or name in names]


@contextmanager
def _moving(network: nn.Module, norms: list[nn.Module]) -> Iterator[None]:
    """Forget the statistics of `norms` and let only them move; then put back modes and momenta."""
    modes = [(module, module.training) for module in network.modules()]
    momenta = [(norm, norm.momentum) for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        _forget(norm)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for norm, momentum in momenta:
            norm.momentum = momentum


def _forget(norm: nn.Module) -> None:
    """What is not a number would otherwise stay, times nothing."""
    for name, start in (("running_mean", 0.0), ("running_var", 1.0), ("num_batches_tracked", 0)):
        buffer = norm._buffers.get(name)
        if buffer is not None:
            buffer.fill_(start)
