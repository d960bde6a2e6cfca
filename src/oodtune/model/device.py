"""Where a network runs."""

import torch

from oodtune.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first GPU, or else the CPU.

    Raises ConfigError if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu" or (name == "cuda" and torch.cuda.is_available()):
        return torch.device(name)
    found = "cpu and cuda" if torch.cuda.is_available() else "only cpu"
    raise ConfigError(f"device: expected auto, cpu or cuda, found {name!r}; this machine has {found}")
