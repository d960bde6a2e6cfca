"""How much memory one turn of a contest takes, noted in the turn that is not measured."""

import ctypes
import gc
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

PROC = Path("/proc")


@dataclass(frozen=True)
class TurnMemory:
    """What a turn takes."""

    place: str
    peak_bytes: int
    """The most that it had at once, beyond what there was before: of the GPU, if it runs on one, else of this
    process."""
    workers_bytes: int
    """Of the processes that it began and left running, with the batches they have ready."""

    def __str__(self) -> str:
        text = f"{self.peak_bytes / 2**20:,.0f} MiB ({self.place})"
        return text + (f" and {self.workers_bytes / 2**20:,.0f} MiB of workers" if self.workers_bytes else "")


class Watched:
    """A function whose first call is watched; later ones only pass through."""

    def __init__(self, function: Callable[[], object], device: torch.device) -> None:
        self.memory: TurnMemory | None = None
        self._function = function
        self._device = device

    def __call__(self) -> None:
        if self.memory is not None:
            self._function()
            return
        before = {process.pid for process in multiprocessing.active_children()}
        gc.collect()
        start = _begin(self._device)
        self._function()
        peak = _peak(self._device) - start
        workers = [one.pid for one in multiprocessing.active_children() if one.pid not in before]
        place = "GPU" if self._device.type == "cuda" else "main process"
        self.memory = TurnMemory(place, peak, sum(_read("smaps_rollup", "Pss", pid) for pid in workers))


def _begin(device: torch.device) -> int:
    """Start watching; return the bytes in use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier contest has freed would else be taken from there, unseen
    (PROC / "self/clear_refs").write_text("5", encoding="ascii")  # the peak begins again
    return _read("status", "VmRSS")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _read("status", "VmHWM")


def _read(file: str, name: str, pid: int | None = None) -> int:
    """Return the bytes that a file of /proc/<pid> states as `name`."""
    text = (PROC / str(pid or "self") / file).read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
