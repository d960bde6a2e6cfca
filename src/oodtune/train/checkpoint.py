"""Checkpoints: whole or not there, two generations, written while training goes on."""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from oodtune.errors import TrainingError
from oodtune.hashing import hash_file

GENERATIONS = 2
"""Checkpoints that are kept: if the newest is damaged, there is another."""
WRITING = "writing"
"""The file that a checkpoint is until it is whole."""
SUFFIX = ".safetensors"


class Checkpoint(NamedTuple):
    """All that training needs to go on after `step` steps."""

    step: int
    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]
    """What is no tensor: JSON."""


class Checkpoints:
    """The checkpoints of one trial in one directory. Use it as a context: then no thread is left.

    A checkpoint is one safetensors file `<step>-<sha256 of the file>.safetensors`. It is written under another
    name, synced and then renamed, so under its own name it is whole; the hash finds what happens to it later.
    Checkpoints of another `identity` do not count.
    """

    def __init__(self, directory: Path, identity: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._identity = identity
        self._say = say
        self._warned_of_disk = False
        self._copies: dict[str, Tensor] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def newest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, on the CPU, and say so; those that are damaged are named and removed."""
        damaged = []
        found = None
        for path in reversed(self._paths()):
            if hash_file(path) != path.stem.partition("-")[2]:
                damaged.append(path.name)
                path.unlink()
                continue
            identity, checkpoint = _read(path)
            if identity == self._identity:
                found = checkpoint
                break
            path.unlink()
        place = "at the start" if found is None else f"after step {found.step}"
        if damaged:
            self._say(f"warning: {self._directory}: damaged checkpoint {', '.join(damaged)}; training goes on {place}")
        elif found is not None:
            self._say(f"{self._directory}: found a checkpoint; training goes on {place}")
        return found

    def save(self, checkpoint: Checkpoint) -> None:
        """Copy `checkpoint` now and write the copy in the background; waits for the one before.

        Raises TrainingError if that one could not be written and there is no older one. If there is, training
        goes on, and the first time a warning says so.
        """
        self.wait()
        copies = {name: self._copy(name, tensor) for name, tensor in checkpoint.tensors.items()}
        ready = None
        if any(tensor.is_cuda for tensor in checkpoint.tensors.values()):
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]  # the copies are on their way until then
            ready.record()
        text = json.dumps({"identity": self._identity, "step": checkpoint.step, "notes": checkpoint.notes})
        self._writing = self._pool.submit(self._write, checkpoint.step, copies, text, ready)

    def wait(self) -> bool:
        """Return whether the latest checkpoint is on disk, as soon as that is known. Raises as `save`."""
        if self._writing is None:
            return True
        try:
            self._writing.result()
        except (OSError, SafetensorError) as error:
            self._complain(error)
            return False
        finally:
            self._writing = None
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob(f"*-*{SUFFIX}"))

    def _copy(self, name: str, tensor: Tensor) -> Tensor:
        """Copy a tensor into memory that is used again for the next checkpoint; on a GPU nothing waits for it."""
        copy = self._copies.get(name)
        if copy is None or (copy.shape, copy.dtype) != (tensor.shape, tensor.dtype):
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._copies[name] = copy
        return copy.copy_(tensor.detach(), non_blocking=True)

    def _write(self, step: int, tensors: dict[str, Tensor], text: str, ready: torch.cuda.Event | None) -> None:
        if ready is not None:
            ready.synchronize()
        writing = self._directory / WRITING
        try:
            save_file(tensors, writing, metadata={"checkpoint": text})
            sync(writing)
        except BaseException:
            writing.unlink(missing_ok=True)
            raise
        writing.rename(self._directory / f"{step:09d}-{hash_file(writing)}{SUFFIX}")
        sync(self._directory)
        for old in self._paths()[:-GENERATIONS]:
            old.unlink()

    def _complain(self, error: Exception) -> None:
        paths = self._paths()
        problem = f"{self._directory}: expected room for a checkpoint, found: {error}"
        if not paths:
            raise TrainingError(f"{problem}; free space, or set train.checkpoint_every above train.steps") from None
        if not self._warned_of_disk:
            step = int(paths[-1].name.partition("-")[0])
            self._say(f"warning: {problem}; training goes on, and if it is interrupted, starts again after step {step}")
        self._warned_of_disk = True


def _read(path: Path) -> tuple[str, Checkpoint]:
    """Return the identity in a whole checkpoint, and the checkpoint."""
    with safe_open(path, framework="pt") as stream:
        head = json.loads(stream.metadata()["checkpoint"])
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  (it is no dict)
    return head["identity"], Checkpoint(head["step"], tensors, head["notes"])


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
