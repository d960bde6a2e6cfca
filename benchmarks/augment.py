"""Augmentation: images/s against torchvision and kornia, and its share of a training step.

    python -m benchmarks.augment --size 96 --batch 24

A turn augments the same images, uint8 as they come from the cache, again and again: float pixels with channels last,
as the network takes them, are what comes out. Weights are random and images are drawn: neither changes the time.
kornia is compared with where it is installed. Prints a line for every ratio; exits with 1 if a target is missed.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from benchmarks.augment_rivals import Augmentation, with_kornia, with_torchvision
from benchmarks.figures import describe_machine, write_figures
from benchmarks.ratio import Contest, Ratio, measure
from oodtune.config import AugmentConfig, PreprocessConfig, TrainConfig
from oodtune.data.augment import augment
from oodtune.model.device import choose_device
from oodtune.model.network import build_network
from oodtune.train.optimiser import create_optimiser
from oodtune.train.update import update
from oodtune.trial import NetworkSpec

CLASSES = tuple(f"class {place}" for place in range(7))


def main() -> None:
    options = _parse()
    device = choose_device(options.device)
    images = _draw_images(options.batch, options.size, device)
    results: list[Ratio] = []
    kornia = _kornia(images, options)
    for contest in _contests(images, options, kornia):
        results.append(measure(contest, options.repeats))
        print(results[-1], flush=True)
    shares = {str(count): _share(images, options, AugmentConfig(operations=count)) for count in (0, 1)}
    for count, share in shares.items():
        print(f"augmentation with operations={count}: {share:.1%} of a training step of {options.backbone}")
    packages = ("oodtune", "torch", "torchvision", "timm", *(("kornia",) if kornia else ()))
    write_figures(options, describe_machine(*packages), results, share_of_a_step_by_operations=shares)
    sys.exit(0 if all(one.met for one in results) else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="of the step (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, help="of images, in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=24, help="images at once (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batches", type=int, default=10, help="of one turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each contest (default: 3)")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def _draw_images(num: int, size: int, device: torch.device) -> Tensor:
    """Return images (B, S, S, 3), uint8."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, size, size, 3), dtype=torch.uint8, generator=generator).to(device)


def _kornia(images: Tensor, options: argparse.Namespace) -> Augmentation | None:
    """Return kornia's augmentation; None, with a line that says so, where it or a part of it is not there."""
    try:
        return with_kornia(options.size, images.device)
    except ImportError as error:
        print(f"kornia is left out, it cannot be imported: {error}", flush=True)
        return None


def _contests(images: Tensor, options: argparse.Namespace, kornia: Augmentation | None) -> Iterator[Contest]:
    def contest(name: str, operations: int, rival: str, theirs: Augmentation) -> Contest:
        ours = _ours(AugmentConfig(operations=operations))
        return Contest(
            name,
            ("oodtune, the batch at once", lambda: _turn(ours, images, options.batches)),
            (rival, lambda: _turn(theirs, images, options.batches)),
            count=options.batch * options.batches,
            target=1.0,
        )

    for operations, name in ((0, "DomainBed's augmentation"), (1, "DomainBed's and TrivialAugment")):
        rival = "torchvision v2, image by image"
        yield contest(f"{name} / torchvision", operations, rival, with_torchvision(options.size, operations))
    if kornia is not None:
        yield contest("DomainBed's augmentation / kornia", 0, "kornia's AugmentationSequential, the batch", kornia)


def _ours(config: AugmentConfig) -> Augmentation:
    generator = torch.Generator().manual_seed(0)

    def augmented(images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()  # as in training
        return augment(pixels, config, generator)

    return augmented


def _turn(augmentation: Augmentation, images: Tensor, batches: int) -> None:
    for _ in range(batches):
        augmentation(images)
    _finish(images.device)


def _share(images: Tensor, options: argparse.Namespace, config: AugmentConfig) -> float:
    """Return how much of the time of augmenting a batch and updating on it the augmentation takes."""
    torch.manual_seed(0)
    spec = NetworkSpec(backbone=options.backbone, classes=CLASSES, preprocess=PreprocessConfig(size=options.size))
    network = build_network(spec, 0.9).to(images.device).train()
    optimiser = create_optimiser(network, TrainConfig(), 1e-4, 1e-4)
    labels = torch.arange(len(images), device=images.device) % len(CLASSES)
    ours = _ours(config)
    augmenting, updating = [], []
    for _ in range(options.batches + 1):
        start = perf_counter()
        pixels = ours(images)
        _finish(images.device)
        between = perf_counter()
        update(network, optimiser, pixels, labels)
        _finish(images.device)
        augmenting.append(between - start)
        updating.append(perf_counter() - between)
    ours_s, rest_s = (statistics.median(times[1:]) for times in (augmenting, updating))  # the first one warms up
    return ours_s / (ours_s + rest_s)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
