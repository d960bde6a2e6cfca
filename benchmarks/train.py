"""Training: a step against the bare update, and images/s against a DataLoader with augmentation in PIL.

    python -m benchmarks.train --backbone tf_efficientnet_lite0 --size 96 --batch-per-domain 8

Weights are random and images are drawn: neither changes the time of a step. Prints a line for every ratio, the
share of a trial's time that evaluation takes, and peak memory; exits with 1 if a target is missed.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from benchmarks.photographs import CLASSES, DOMAINS, draw_photographs
from benchmarks.ratio import Contest, Ratio, as_json, describe_machine, measure
from oodtune.config import AugmentConfig, DataConfig, MethodConfig, PreprocessConfig, TrainConfig
from oodtune.cpus import count_cpus
from oodtune.model.device import choose_device
from oodtune.model.network import build_network
from oodtune.stages import cache, prepare
from oodtune.stages.feed import Feed, open_feed
from oodtune.train.loop import Recipe, Surroundings, train_network
from oodtune.train.optimiser import create_optimiser
from oodtune.train.update import choose_precision, update
from oodtune.trial import NetworkSpec

TARGET = DOMAINS[0]


@dataclass(frozen=True)
class Bench:
    """What all contests share."""

    root: Path
    options: argparse.Namespace
    config: TrainConfig
    device: torch.device

    @property
    def steps(self) -> int:
        return int(self.options.steps)

    @property
    def num_images(self) -> int:
        """Trained on in the steps of one turn."""
        return self.steps * self.config.batch_per_domain * (len(DOMAINS) - 1)

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        spec = NetworkSpec(
            backbone=self.options.backbone, classes=CLASSES, preprocess=PreprocessConfig(size=self.options.size)
        )
        return build_network(spec, dropout=0.9).to(self.device).train()

    def feed(self) -> Feed:
        return open_feed(self.root / "cache", TARGET, 0, AugmentConfig(), self.config, self.device)


def main() -> None:
    options = _parse()
    config = TrainConfig(batch_per_domain=options.batch_per_domain, precision=options.precision)
    with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as directory:
        root = Path(directory)
        draw_photographs(root / "images", options.images, width=227, height=227)
        prepare.run(root / "dataset", prepare.Params(data=DataConfig(source="folder", root=root / "images")))
        preprocess = PreprocessConfig(size=options.size)
        cache.run(root / "dataset", root / "cache", cache.Params(preprocess=preprocess))
        bench = Bench(root, options, config, choose_device(options.device))
        results: list[Ratio] = []
        for contest in _contests(bench):
            results.append(measure(contest, options.repeats))
            print(results[-1], flush=True)
        share = _evaluation_share(bench)
        peak = _peak_memory(bench.device)
    print(f"evaluation: {share:.1%} of the time of {bench.steps} steps with two snapshots")
    print(f"peak memory: {peak / 2**20:.0f} MiB")
    if options.out is not None:
        settings = {name: str(value) for name, value in sorted(vars(options).items()) if name != "out"}
        figures = {
            "settings": settings,
            "machine": describe_machine("oodtune", "torch", "timm"),
            "ratios": [as_json(one) for one in results],
            "evaluation_share": share,
            "peak_memory_bytes": peak,
        }
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(one.met for one in results) else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="a timm name (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, help="of images, in pixels (default: %(default)s)")
    parser.add_argument("--batch-per-domain", type=int, default=8, help="three domains are trained on (default: 8)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--images", type=int, default=800, help="how many to draw (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="of one turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each contest (default: 3)")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def _contests(bench: Bench) -> Iterator[Contest]:
    ours = ("steps of oodtune: read, augment, update", Stepper(bench).train_from_feed)
    constant = ("updates on one batch in device memory", Stepper(bench).train_on_one_batch)
    yield Contest("training step", ours, constant, bench.num_images, target=1 / 1.05)
    loader = ("the same updates fed by ImageFolder, PIL, DataLoader", Stepper(bench).train_from_loader)
    yield Contest("training from files", ours, loader, bench.num_images, target=1.0)


class Stepper:
    """A network that is trained in three ways; each call trains it for one turn."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.network = bench.network()
        self.optimiser = create_optimiser(self.network, bench.config, 1e-4, 1e-4)
        self.precision = choose_precision(bench.config, bench.device)
        self._loaded = _endless(bench)  # begun once: starting its workers is not in any turn but the unmeasured one

    def train_from_feed(self) -> None:
        with self.bench.feed() as feed:
            for step in range(self.bench.steps):
                self._update(*feed.draw_batch(step))
        self._finish()

    def train_on_one_batch(self) -> None:
        size, count = self.bench.options.size, self.bench.num_images // self.bench.steps
        pixels = torch.rand(count, 3, size, size, device=self.bench.device) * 255.0
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        labels = torch.arange(count, device=self.bench.device) % len(CLASSES)
        for _ in range(self.bench.steps):
            self._update(pixels, labels)
        self._finish()

    def train_from_loader(self) -> None:
        for _ in range(self.bench.steps):
            pixels, labels = next(self._loaded)
            on_device = pixels.to(self.bench.device, memory_format=torch.channels_last)
            self._update(on_device, labels.to(self.bench.device))
        self._finish()

    def _update(self, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        update(self.network, self.optimiser, pixels, labels, precision=self.precision)

    def _finish(self) -> None:
        if self.bench.device.type == "cuda":
            torch.cuda.synchronize()


def _endless(bench: Bench) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches as DomainBed makes them: PIL images, augmented one by one in worker processes."""
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop(bench.options.size, scale=(0.7, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
            transforms.RandomGrayscale(),
            transforms.PILToTensor(),
        ]
    )
    joined = ConcatDataset([ImageFolder(str(bench.root / "images" / name), augment) for name in DOMAINS[1:]])
    batch = bench.num_images // bench.steps
    loader = DataLoader(joined, batch, shuffle=True, drop_last=True, num_workers=count_cpus(), persistent_workers=True)
    while True:
        for pixels, labels in loader:
            yield pixels.float(), labels


def _evaluation_share(bench: Bench) -> float:
    """Return the share of a trial's time that measuring on the source out-splits takes."""
    config = bench.config.model_copy(update={"steps": bench.steps, "snapshot_every": max(1, bench.steps // 2)})
    with bench.feed() as feed:
        timed = TimedFeed(feed)
        start = perf_counter()
        train_network(bench.network(), timed, Recipe(config, MethodConfig(), 1e-4, 1e-4), Surroundings())
        return timed.measuring_s / (perf_counter() - start)


class TimedFeed:
    """A feed that notes how long measuring takes."""

    def __init__(self, feed: Feed) -> None:
        self.draw_batch = feed.draw_batch
        self._feed = feed
        self.measuring_s = 0.0

    def measure(self, network: nn.Module, *others: object) -> object:
        start = perf_counter()
        measured = self._feed.measure(network, *others)
        self.measuring_s += perf_counter() - start
        return measured


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
