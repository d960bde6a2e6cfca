"""Several processes that train one network together, each on its part of every batch.

Image i of a batch is in the part of rank i modulo the number of ranks. Whatever decides how training goes on is
known to all ranks alike: none goes its own way.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from oodtune.errors import ConfigError
from oodtune.model.device import choose_device
from oodtune.train.checkpoint import Checkpoint


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. Alone, it is the first of one and sends nothing."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """True for the one rank that writes and shows."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the ranks, element by element."""
        if self.count == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def highest(self, number: int) -> int:
        """Return the highest `number` of any rank."""
        if self.count == 1:
            return number
        shared = torch.tensor(number, device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return int(shared)

    def gather(self, part: Tensor, num: int) -> Tensor:
        """Return the whole (num, ...), on the CPU, of every rank's part: rows rank, rank + count, ...

        A rank that no row belongs to passes one of any value.
        """
        if self.count == 1:
            return part
        longest = -(-num // self.count)
        padded = torch.zeros(longest, *part.shape[1:], dtype=part.dtype, device=self.device)
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        # Row 0 of every part, then row 1 of every part: the order of the whole.
        return torch.stack(parts, 1).flatten(0, 1)[:num].cpu()

    def share(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """Return the first rank's checkpoint, on the CPU; what the others pass does not count."""
        if self.count == 1:
            return checkpoint
        head = json.loads(self._share_text("null" if checkpoint is None else json.dumps(_head(checkpoint))))
        if head is None:
            return None
        tensors = {}
        for name, (dtype, shape) in head["tensors"].items():
            tensor = (
                checkpoint.tensors[name] if self.is_first and checkpoint else torch.empty(shape, dtype=dtype_of(dtype))
            )
            tensors[name] = self._share_tensor(tensor)
        return Checkpoint(head["step"], tensors, head["notes"])

    def _share_text(self, text: str) -> str:
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        length = self.highest(len(data) if self.is_first else 0)
        return bytes(self._share_tensor(data if self.is_first else data.new_empty(length)).tolist()).decode()

    def _share_tensor(self, tensor: Tensor) -> Tensor:
        shared = tensor.contiguous().to(self.device)
        dist.broadcast(shared.reshape(-1).view(torch.uint8), 0)  # as bytes: not every backend knows every type
        return shared.cpu()


def dtype_of(name: str) -> torch.dtype:
    """Return the type that prints as `name`, as in `torch.float32`."""
    dtype = getattr(torch, name.removeprefix("torch."))
    assert isinstance(dtype, torch.dtype)
    return dtype


def _head(checkpoint: Checkpoint) -> dict[str, object]:
    kinds = {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in checkpoint.tensors.items()}
    return {"step": checkpoint.step, "notes": checkpoint.notes, "tensors": kinds}


class DropoutOfPart(nn.Module):
    """Dropout whose mask is this rank's rows of the mask that one process would draw for the whole batch.

    All ranks' generators must be in one state, and the parts of one size. Where a batch is computed in parts
    one after the other (`accumulate`), masks are others than those of one process, of the same distribution.
    """

    def __init__(self, probability: float, ranks: Ranks) -> None:
        super().__init__()
        self._probability = probability
        self._ranks = ranks

    def forward(self, features: Tensor) -> Tensor:
        """Return penultimate features (B, D), masked in training mode."""
        if not self.training or self._probability == 0.0:
            return features
        whole = features.new_ones(len(features) * self._ranks.count, features.shape[1])
        return features * F.dropout(whole, self._probability)[self._ranks.rank :: self._ranks.count]


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Yield this process's place among those that `torchrun` started, and its device; alone without torchrun.

    `device` is `auto`, `cpu` or `cuda`: each rank of a machine has a GPU of its own. Ranks talk by NCCL between
    GPUs and by Gloo between CPUs. Raises ConfigError if the machine has fewer GPUs than ranks.
    """
    chosen = choose_device(device)
    if not dist.is_torchelastic_launched():
        yield Ranks(chosen)
        return
    if chosen.type == "cuda":
        place = dist.get_node_local_rank()
        if place >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun: expected at most {torch.cuda.device_count()} processes, one for each GPU of this machine, "
                f"found number {place + 1}; lower --nproc-per-node, or pass --device cpu"
            )
        chosen = torch.device("cuda", place)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    yield Ranks(chosen, dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: other ranks may wait for this one, until torchrun ends them
