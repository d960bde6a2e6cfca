"""Weights on disk: safetensors, nothing pickled; and one digest that names them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from oodtune.errors import ArtifactError


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict as safetensors; equal weights give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: state[name].detach().cpu().contiguous() for name in sorted(state)}, path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict. Raises ArtifactError if `path` is not a safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: expected a safetensors file of weights; {error}") from None


def digest_weights(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over every name, shape, type and value of a state dict."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())  # numpy lacks bfloat16
    return digest.hexdigest()
