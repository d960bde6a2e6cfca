"""What training takes while it goes on: wall-clock time, images, energy."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch
import torch.distributed as dist

from oodtune.train.ranks import Ranks

POWERCAP = Path("/sys/class/powercap")

Counter = Callable[[], float]
"""Returns the joules used since the counter was opened; NaN if it can no longer be read."""


@dataclass(frozen=True)
class Spent:
    """What a trial took so far, in all its parts if it was interrupted, each up to its last checkpoint."""

    seconds: float
    """Wall-clock time of the loop, with its evaluations and checkpoints; without imports and opening of files."""
    num_images: int
    """Images it was trained on, with repeats."""
    joules: float | None
    """Of the GPUs alone, or of whole CPU packages: see `open_counter`. None where the machine does not tell."""


NOTHING = Spent(0.0, 0, 0.0)


class Meter:
    """Adds what training takes from now on to what it took before."""

    def __init__(self, before: Spent, ranks: Ranks, counter: Counter | None) -> None:
        self._before = before
        self._ranks = ranks
        self._started_s = perf_counter()
        self._num_images = 0
        self._counter = counter

    def add_images(self, num: int) -> None:
        """Count the images of an update, over all ranks."""
        self._num_images += num

    def look(self) -> None:
        """Read the counter: between two looks, one that starts again at 0 may do so once at most."""
        if self._counter is not None:
            self._counter()

    def read(self) -> Spent:
        """Return the sum of it all. All ranks must call this together: their energy is added up."""
        used = torch.tensor(math.nan if self._counter is None else self._counter(), dtype=torch.float64)
        joules = float(self._ranks.mean(used.to(self._ranks.device))) * self._ranks.count
        before = self._before
        return Spent(
            seconds=before.seconds + perf_counter() - self._started_s,
            num_images=before.num_images + self._num_images,
            # NaN if one rank does not know
            joules=None if before.joules is None or math.isnan(joules) else before.joules + joules,
        )


def open_counter(ranks: Ranks) -> Counter | None:
    """Return a counter of this rank's energy, or None if the machine has none that may be read.

    On a GPU it is the counter of that GPU, which NVML keeps (the package `nvidia-ml-py`), and nothing of the rest of
    the machine. On CPUs it is RAPL, which counts whole packages: whatever else runs there is in it. So only the first
    rank of a machine counts them. Linux lets only root read RAPL, unless told otherwise.
    """
    if ranks.device.type == "cuda":
        return _open_gpu(ranks.device)
    if ranks.count > 1 and dist.get_node_local_rank(fallback_rank=0) > 0:
        return lambda: 0.0
    return open_packages(POWERCAP)


def _open_gpu(device: torch.device) -> Counter | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        # By its id: CUDA_VISIBLE_DEVICES changes numbers for CUDA, and not for NVML.
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        first = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # millijoules since the driver was loaded
    except nvml.NVMLError:  # old GPUs, and parts of one (MIG), have no counter
        return None

    def read() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) - first) / 1e3
        except nvml.NVMLError:
            return math.nan

    return read


def open_packages(powercap: Path) -> Counter | None:
    """Return a counter of all CPU packages in a directory like /sys/class/powercap; None if it cannot be read.

    Zones within packages (cores, memory) and the one of the whole board are left out: they count the same again.
    """
    try:
        zones = [path for path in sorted(powercap.glob("intel-rapl:*")) if _name_of(path).startswith("package")]
        packages = [_Package.open(path) for path in zones]
    except (OSError, ValueError):
        return None
    return (lambda: sum(package.read() for package in packages)) if packages else None


def _name_of(zone: Path) -> str:
    return (zone / "name").read_text(encoding="ascii").strip()


@dataclass
class _Package:
    """The counter of one CPU package. It starts again at 0 after `span` microjoules: some minutes at full load."""

    path: Path
    span: int
    latest: int
    used: int = 0

    @classmethod
    def open(cls, zone: Path) -> Self:
        path = zone / "energy_uj"
        return cls(path, int((zone / "max_energy_range_uj").read_text()), int(path.read_text()))

    def read(self) -> float:
        try:
            now = int(self.path.read_text())
        except (OSError, ValueError):
            return math.nan
        self.used += (now - self.latest) % (self.span + 1)
        self.latest = now
        return self.used / 1e6
