"""What the benchmark of training runs: a network and the steps that oodtune trains it with."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from benchmarks.photographs import CLASSES, DOMAINS
from oodtune.config import AugmentConfig, MethodConfig, PreprocessConfig, TrainConfig
from oodtune.model.network import Network, build_network
from oodtune.stages.feed import Feed, open_feed
from oodtune.train.forward import create_forward
from oodtune.train.history import Measurement, State
from oodtune.train.loop import Recipe, Surroundings, train_network
from oodtune.train.optimiser import create_optimiser
from oodtune.train.ranks import Ranks
from oodtune.train.update import Forward, choose_precision, update
from oodtune.trial import NetworkSpec

TARGET = DOMAINS[0]
METHOD = MethodConfig(dropout=0.9)
LEARNING_RATE = WEIGHT_DECAY = 1e-4


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
    def batch(self) -> int:
        """Images of one step."""
        return self.config.batch_per_domain * (len(DOMAINS) - 1)

    @property
    def num_images(self) -> int:
        """Trained on in the steps of one turn."""
        return self.steps * self.batch

    @property
    def ranks(self) -> Ranks:
        return Ranks(self.device)

    @property
    def precision(self) -> torch.dtype:
        return choose_precision(self.config, self.device)

    def network(self) -> Network:
        torch.manual_seed(0)
        spec = NetworkSpec(
            backbone=self.options.backbone, classes=CLASSES, preprocess=PreprocessConfig(size=self.options.size)
        )
        return build_network(spec, METHOD.dropout).to(self.device).train()

    def feed(self) -> Feed:
        return open_feed(self.root / "cache", TARGET, 0, AugmentConfig(), self.config, self.ranks)

    def synchronise(self) -> None:
        """Wait for what the device still has to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


@dataclass
class Clock:
    """Seconds of turns, and how many of them evaluation took."""

    turns_s: list[float] = field(default_factory=list)
    evaluating_s: list[float] = field(default_factory=list)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time a turn."""
        start = perf_counter()
        yield
        self.turns_s.append(perf_counter() - start)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Time the evaluation of a turn."""
        start = perf_counter()
        yield
        self.evaluating_s.append(perf_counter() - start)

    @property
    def share(self) -> float:
        """Of evaluation in the time of all turns but the first, which is the one that contests do not measure."""
        return sum(self.evaluating_s[1:]) / sum(self.turns_s[1:])


class Stepper:
    """A network that oodtune trains; each call trains it for one turn. It is built in the first."""

    def __init__(self, bench: Bench, compiler: str = "none") -> None:
        self.bench = bench
        self.clock = Clock()
        self._compiler = compiler

    def train_from_feed(self) -> None:
        """Read, augment and update."""
        with self.bench.feed() as feed:
            self._train(feed)
        self.bench.synchronise()

    def train_and_evaluate(self) -> None:
        """The same, and then measure on the out-splits of the source domains, as a snapshot does."""
        with self.clock.turn(), self.bench.feed() as feed:
            self._train(feed)
            self.bench.synchronise()
            with self.clock.evaluation():
                feed.measure(self.network)
            self.network.train()

    def train_on_one_batch(self) -> None:
        """Update on one batch that lies ready."""
        size, count = self.bench.options.size, self.bench.batch
        pixels = torch.rand(count, 3, size, size, device=self.bench.device) * 255.0
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        labels = torch.arange(count, device=self.bench.device) % len(CLASSES)
        for _ in range(self.bench.steps):
            self.update(pixels, labels)
        self.bench.synchronise()

    def update(self, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        update(self._forward, self._optimiser, pixels, labels, precision=self.bench.precision)

    @cached_property
    def network(self) -> Network:
        return self.bench.network()

    @cached_property
    def _optimiser(self) -> torch.optim.Optimizer:
        return create_optimiser(self.network, self.bench.config, LEARNING_RATE, WEIGHT_DECAY)

    @cached_property
    def _forward(self) -> Forward:
        config = self.bench.config.model_copy(update={"compile": self._compiler})
        return create_forward(self.network, config, METHOD, self.bench.ranks)

    def _train(self, feed: Feed) -> None:
        for step in range(self.bench.steps):
            self.update(*feed.draw_batch(step))


def evaluation_share(bench: Bench) -> float:
    """Return the share of a trial's time that measuring on the source out-splits takes: at its start, in its
    middle and at its end.
    """
    config = bench.config.model_copy(update={"steps": bench.steps, "snapshot_every": max(1, bench.steps // 2)})
    recipe = Recipe(config, METHOD, LEARNING_RATE, WEIGHT_DECAY)
    with bench.feed() as feed:
        timed = _TimedFeed(bench, feed)
        start = perf_counter()
        train_network(bench.network(), timed, recipe, Surroundings(ranks=bench.ranks))
        return timed.measuring_s / (perf_counter() - start)


class _TimedFeed:
    """A feed that notes how long measuring takes."""

    def __init__(self, bench: Bench, feed: Feed) -> None:
        self.draw_batch = feed.draw_batch
        self.estimate_statistics = feed.estimate_statistics
        self.measuring_s = 0.0
        self._bench = bench
        self._feed = feed

    def measure(self, network: nn.Module, *others: State) -> list[Measurement]:
        self._bench.synchronise()  # else what is left of the steps would count as measuring
        start = perf_counter()
        measured = self._feed.measure(network, *others)
        self.measuring_s += perf_counter() - start
        return measured
