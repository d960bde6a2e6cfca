"""Training as DomainBed does it: its loaders, its augmentation and its `ERM.update`, out of a user's checkout.

Also of the code of Zhang & Bottou, "Fine-tuning with Very Large Dropout", which has the same layout. Nothing of a
checkout is part of this repository, and nothing is imported from one unless its path is given.
"""

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.photographs import CLASSES, DOMAINS
from benchmarks.train_bench import LEARNING_RATE, TARGET, WEIGHT_DECAY, Bench, Clock
from benchmarks.train_rivals import Counted, Workers
from oodtune.errors import ConfigError

SIZE = 224
"""Of images, in pixels: DomainBed has no other for folders of images."""
_OUT_FRACTION = 0.2
_EVALUATION_BATCH = 64
_PROBE = "domainbed/lib/fast_data_loader.py"


@dataclass(frozen=True)
class Checkout:
    """Modules of DomainBed."""

    algorithms: Any
    datasets: Any
    hparams_registry: Any
    networks: Any
    fast_data_loader: Any
    misc: Any


def import_checkout(path: Path) -> Checkout:
    """Import DomainBed from `path`. Raises ConfigError if it is not there, or needs a package that is not."""
    if not (path / _PROBE).is_file():
        raise ConfigError(f"--domainbed: expected a checkout of DomainBed, with {_PROBE}, found none in {path}")
    sys.path.insert(0, str(path.resolve()))
    names = ("algorithms", "datasets", "hparams_registry", "networks", "lib.fast_data_loader", "lib.misc")
    try:
        return Checkout(*(importlib.import_module(f"domainbed.{name}") for name in names))
    except ImportError as error:
        raise ConfigError(
            f"--domainbed: expected all that the code in {path} imports, found: {error}; install it and begin again"
        ) from None


class Loading(NamedTuple):
    """One of DomainBed's loaders."""

    loader: Any
    workers: Workers


class AsDomainBed:
    """A network that DomainBed's code trains; each call trains it for one turn. It is built in the first.

    The backbone is ours (same architecture, dropout and frozen batch-norm statistics, activations of the same
    precision), so that nothing is downloaded, but with weights laid out as DomainBed leaves them. Head, optimiser,
    hyper-parameters' defaults, splits, loaders and the number of their workers are DomainBed's.
    """

    def __init__(self, checkout: Checkout, bench: Bench) -> None:
        self.clock = Clock()
        self._code = checkout
        self._bench = bench

    @property
    def num_workers(self) -> int:
        """Worker processes of one loader; there is one loader for each source domain."""
        return int(self._bench.options.domainbed_workers or self._code.datasets.MultipleDomainDataset.N_WORKERS)

    @property
    def num_evaluated(self) -> int:
        """Images that DomainBed evaluates at each of its checkpoints: all."""
        return sum(len(one) for one in self._images.datasets)

    def train(self) -> None:
        """Update on a batch of every source domain, `steps` times."""
        for _ in range(self._bench.steps):
            device = self._bench.device
            self._erm.update([(x.to(device), y.to(device)) for x, y in next(self._batches)])
        self._bench.synchronise()
        for one in self._training:
            one.workers.use(self._bench.steps)
            one.workers.catch_up()

    def train_and_evaluate(self) -> None:
        """The same, and then a checkpoint's evaluation: every split of every domain."""
        with self.clock.turn():
            self.train()
            with self.clock.evaluation():
                for one in self._evaluation:
                    self._code.misc.accuracy(self._erm, one.loader, None, self._bench.device)
                    one.workers.use(len(one.loader))
                for one in self._evaluation:
                    one.workers.catch_up()

    @cached_property
    def _hparams(self) -> dict[str, Any]:
        ours = {"batch_size": self._bench.config.batch_per_domain, "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}
        # Dropout is in the featuriser: DomainBed has it there, the paper's code in the classifier.
        return {**self._code.hparams_registry.default_hparams("ERM", "PACS"), **ours, "resnet_dropout": 0.0}

    @cached_property
    def _images(self) -> Any:
        target = sorted(DOMAINS).index(TARGET)
        root = str(self._bench.root / "images")
        return self._code.datasets.MultipleEnvironmentImageFolder(root, [target], True, self._hparams)

    @cached_property
    def _splits(self) -> list[tuple[Any, Any]]:
        """The in-split and the out-split of every domain, in the order of their names."""
        misc, parts = self._code.misc, []
        for place, domain in enumerate(self._images.datasets):
            out, in_ = misc.split_dataset(domain, int(len(domain) * _OUT_FRACTION), misc.seed_hash(0, place))
            parts.append((in_, out))
        return parts

    @cached_property
    def _erm(self) -> Any:
        featuriser = Featuriser(self._bench)
        self._code.networks.Featurizer = lambda input_shape, hparams: featuriser
        with contextlib.redirect_stdout(io.StringIO()):  # the paper's code prints its optimiser
            erm = self._code.algorithms.ERM((3, SIZE, SIZE), len(CLASSES), len(DOMAINS) - 1, self._hparams)
        return erm.to(self._bench.device).train()

    @cached_property
    def _training(self) -> list[Loading]:
        """A loader of the in-split of every source domain."""
        batch, make = self._bench.config.batch_per_domain, self._code.fast_data_loader.InfiniteDataLoader
        make = partial(make, weights=None, batch_size=batch, num_workers=self.num_workers)
        named = zip(sorted(DOMAINS), self._splits, strict=True)
        return [self._begin(make, in_, [batch]) for name, (in_, _) in named if name != TARGET]

    @cached_property
    def _batches(self) -> Iterator[Any]:
        return zip(*(one.loader for one in self._training), strict=True)

    @cached_property
    def _evaluation(self) -> list[Loading]:
        """A loader of every split: the in-splits, then the out-splits."""
        make = self._code.fast_data_loader.FastDataLoader
        make = partial(make, batch_size=_EVALUATION_BATCH, num_workers=self.num_workers)
        splits = [split for part in zip(*self._splits, strict=True) for split in part]
        return [self._begin(make, split, _batch_sizes(len(split))) for split in splits]

    def _begin(self, make: Callable[[Counted], Any], split: Any, batch_sizes: list[int]) -> Loading:
        images = Counted(split)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of more workers than CPUs, and of pinned memory without a GPU
            return Loading(make(images), Workers(images, batch_sizes, self.num_workers))


def _batch_sizes(num_images: int) -> list[int]:
    """Return the sizes of the batches of one evaluation."""
    return [min(_EVALUATION_BATCH, num_images - first) for first in range(0, num_images, _EVALUATION_BATCH)]


class Featuriser(nn.Module):
    """Normalised pixels (B, 3, S, S) to penultimate features (B, D), after dropout; float32."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.network = bench.network().to(memory_format=torch.contiguous_format)
        self.n_outputs = self.network.head.in_features
        self.network.register_module("head", nn.Identity())  # DomainBed has a classifier of its own
        self._bench = bench

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        precision = self._bench.precision
        with torch.autocast(pixels.device.type, dtype=precision, enabled=precision != torch.float32):
            features = self.network.dropout(self.network.backbone(pixels))
        pooled: torch.Tensor = features.float()
        return pooled
