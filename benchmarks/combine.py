"""Soups against the naive loop, which loads all states and averages stacks of their tensors: time and peak memory.

    python -m benchmarks.combine

Writes states of a ResNet-50's size to disk, random weights with noise of their own. Time is measured by turns in this
process. Memory is that of a fresh process for every side, less what it had before it began, in states. Exits with
1 if a target is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.figures import describe_machine, write_figures
from benchmarks.memory import read_status, watch
from benchmarks.ratio import Bound, Contest, Ratio, measure
from oodtune.combine.greedy import greedy_soup
from oodtune.combine.soup import uniform_soup
from oodtune.model.backbone import create_backbone
from oodtune.model.weights import load_weights, save_weights

PROJECT_DIR = Path(__file__).parents[1]
TARGET_TIME = 1.0
TARGET_STATES = 3.0
NOISES = (0.1, 0.1, 0.4)
"""A third of the states is far off, so that a greedy soup does not keep everything."""
FRESH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks import combine
print(Path("/proc/self/status").read_text(), flush=True)
combine.SIDES[sys.argv[2]](Path(sys.argv[3]))
"""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Memory:
    """The most that a side took beyond what its process had at first, in states."""

    side: str
    private_states: float
    """Of memory of its own (RssAnon)."""
    resident_states: float
    """With the mapped pages of files (VmHWM), which the system takes back when it needs the memory."""

    def __str__(self) -> str:
        return f"{self.side}: {self.private_states:.2f} states, with mapped files {self.resident_states:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50", help="timm name; its weights are random")
    parser.add_argument("--states", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        state_bytes = write_states(directory, options.backbone, options.states)
        print(f"{options.states} states of {options.backbone}, {state_bytes / 1e6:.1f} MB each", flush=True)
        check_same(directory)
        memory = [measure_memory(side, directory, state_bytes) for side in SIDES]
        print(*memory, sep="\n", flush=True)
        bounds = [bound(one) for one in memory if one.side.startswith("ours")]
        ratios = [measure(contest, options.repeats) for contest in contests(directory, options.states)]
        print(*bounds, *ratios, sep="\n", flush=True)
    machine = describe_machine("torch", "safetensors") | {"threads": torch.get_num_threads()}
    write_figures(options, machine, ratios, bounds, state_bytes=state_bytes, memory=[asdict(one) for one in memory])
    judged: list[Bound | Ratio] = [*bounds, *ratios]
    sys.exit(not all(one.met for one in judged))


def bound(memory: Memory) -> Bound:
    """To a tenth: a greedy soup holds sums as large as two states, one average, and buffers."""
    kind = memory.side.removeprefix("ours, ")
    return Bound(f"memory of the {kind} soup", round(memory.private_states, 1), TARGET_STATES, "states")


def contests(directory: Path, count: int) -> list[Contest]:
    return [
        Contest(
            f"{kind} soup, in states/s",
            (f"oodtune: {kind}_soup", partial(SIDES[f"ours, {kind}"], directory)),
            ("all states loaded, torch.stack, mean", partial(SIDES[f"naive, {kind}"], directory)),
            count,
            TARGET_TIME,
        )
        for kind in ("uniform", "greedy")
    ]


def write_states(directory: Path, backbone: str, count: int) -> int:
    """Write `count` states that differ in their weights, not in statistics; return the bytes of one."""
    torch.manual_seed(0)
    initial = create_backbone(backbone, 224).state_dict()
    for i in range(count):
        state = {
            name: tensor + NOISES[i % len(NOISES)] * torch.randn_like(tensor) if "running" not in name else tensor
            for name, tensor in initial.items()
            if tensor.is_floating_point()
        }
        save_weights(state, directory / f"trial{i:02}.safetensors")
    save_weights({probe_name(initial): initial[probe_name(initial)]}, directory / "target.safetensors")
    return sum(tensor.nbytes for tensor in initial.values())


def probe_name(state: State) -> str:
    return next(name for name in sorted(state) if state[name].ndim == 4)


def closeness(directory: Path) -> Callable[[State], float]:
    """Return a score that costs next to nothing: larger, the closer one tensor is to that without noise."""
    [(name, target)] = load_weights(directory / "target.safetensors").items()
    return lambda state: -float((state[name] - target).norm())


def loaders(directory: Path) -> dict[str, Callable[[], dict[str, Tensor]]]:
    return {path.stem: partial(load_weights, path) for path in sorted(directory.glob("trial*.safetensors"))}


def accuracies(directory: Path) -> dict[str, float]:
    """Return an order that is not that of the scores: as written."""
    return {name: -float(i) for i, name in enumerate(sorted(loaders(directory)))}


def uniform_ours(directory: Path) -> dict[str, Tensor]:
    return uniform_soup(loaders(directory))


def uniform_naive(directory: Path) -> dict[str, Tensor]:
    return mean([load() for load in loaders(directory).values()])


def greedy_ours(directory: Path) -> dict[str, Tensor]:
    return greedy_soup(loaders(directory), accuracies(directory), closeness(directory)).state


def greedy_naive(directory: Path) -> dict[str, Tensor]:
    score, ranks = closeness(directory), accuracies(directory)
    states = {name: load() for name, load in loaders(directory).items()}
    kept: list[dict[str, Tensor]] = []
    best, soup = float("-inf"), dict[str, Tensor]()
    for name in sorted(states, key=lambda one: -ranks[one]):
        merged = mean([*kept, states[name]])
        value = score(merged)
        if value > best:
            kept.append(states[name])
            best, soup = value, merged
    return soup


def mean(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


SIDES: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "ours, uniform": uniform_ours,
    "naive, uniform": uniform_naive,
    "ours, greedy": greedy_ours,
    "naive, greedy": greedy_naive,
}


def check_same(directory: Path) -> None:
    """Make sure that both sides do the same, up to rounding, and that the greedy soup leaves some states out."""
    for kind in ("uniform", "greedy"):
        ours, naive = SIDES[f"ours, {kind}"](directory), SIDES[f"naive, {kind}"](directory)
        assert all(torch.allclose(ours[name], naive[name], atol=1e-5) for name in naive), kind
    kept = len(greedy_soup(loaders(directory), accuracies(directory), closeness(directory)).accepted)
    print(f"the greedy soup keeps {kept} of {len(loaders(directory))}", flush=True)


def measure_memory(side: str, directory: Path, state_bytes: int) -> Memory:
    peak = watch([sys.executable, "-c", FRESH, str(PROJECT_DIR), side, str(directory)], directory)
    first = read_status((directory / "stdout").read_text())
    taken = {name: (peak.megabytes[name] - first[name]) * 1e6 / state_bytes for name in ("RssAnon", "VmHWM")}
    return Memory(side, taken["RssAnon"], taken["VmHWM"])


if __name__ == "__main__":
    main()
