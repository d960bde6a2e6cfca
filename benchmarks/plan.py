"""Every benchmark that `make bench` runs, in this order."""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One benchmark with the options of its published figures."""

    name: str
    """Of its figures: `<name>.json`."""
    title: str
    module: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    """In place of `arguments`, to see that it runs."""
    minutes: float = 1.0
    """On 2 cores."""
    programs: tuple[str, ...] = ()
    """What it needs beside Python."""
    only_named: str = ""
    """Why it runs only if it is named: what must be there. Empty: it always runs."""

    def command(self, out: Path, *, quick: bool) -> list[str]:
        """Return the words after `python`."""
        return ["-m", self.module, *(self.quick if quick else self.arguments), "--out", str(out)]

    def missing(self) -> list[str]:
        return [program for program in self.programs if shutil.which(program) is None]


_QUICK_TRAIN = ("--steps", "2", "--repeats", "1", "--images", "200", "--batch-per-domain", "4")
_LARGE = ("--images", "1600", "--width", "1024", "--height", "768")

RUNS = (
    Run("data", "Images of 500x375", "benchmarks.data", (), ("--images", "200", "--repeats", "1"), 4),
    Run(
        "data-1024x768",
        "Images of 1024x768",
        "benchmarks.data",
        _LARGE,
        ("--images", "100", *_LARGE[2:], "--repeats", "1"),
        3,
    ),
    Run(
        "memory",
        "Memory of a cache",
        "benchmarks.memory",
        ("--gigabytes", "5"),
        ("--gigabytes", "0.1", "--batches", "5"),
        2,
    ),
    Run("train-lite0", "Training, lite0 at 96 px", "benchmarks.train", (), _QUICK_TRAIN, 3),
    Run(
        "train-lite0-224",
        "Training, lite0 at 224 px",
        "benchmarks.train",
        ("--size", "224", "--images", "167", "--compile", "kernels"),
        (*_QUICK_TRAIN, "--size", "64"),
        5,
    ),
    Run(
        "train-resnet50",
        "Training, resnet50 at 224 px",
        "benchmarks.train",
        ("--backbone", "resnet50", "--size", "224", "--steps", "3"),
        (*_QUICK_TRAIN, "--backbone", "resnet10t", "--size", "64"),
        4,
    ),
    Run(
        "domainbed-lite0-224",
        "Training against DomainBed, lite0 at 224 px",
        "benchmarks.train",
        (
            *("--size", "224", "--images", "167", "--compile", "kernels", "--domainbed", "DomainBed"),
            *("--domainbed-workers", "1", "--domainbed-evaluation"),
        ),
        minutes=8,
        only_named="a checkout of DomainBed in ./DomainBed, with its packages",
    ),
    Run(
        "domainbed-resnet50",
        "Training against DomainBed, resnet50 at 224 px",
        "benchmarks.train",
        ("--backbone", "resnet50", "--size", "224", "--steps", "3", "--domainbed", "DomainBed"),
        minutes=6,
        only_named="a checkout of DomainBed in ./DomainBed, with its packages",
    ),
    Run("augment", "Augmentation", "benchmarks.augment", (), ("--batches", "2", "--repeats", "1"), 1),
    Run(
        "sweep",
        "Several trials at once",
        "benchmarks.sweep",
        ("--trials", "2", "--steps", "40", "--repeats", "3", "--concurrency", "2"),
        ("--trials", "2", "--steps", "2", "--repeats", "1", "--concurrency", "2", "--images", "200", "--size", "64"),
        5,
    ),
    Run(
        "combine",
        "Soups",
        "benchmarks.combine",
        (),
        ("--backbone", "resnet10t", "--states", "6", "--repeats", "1"),
        2,
    ),
    Run("evaluate", "Evaluation", "benchmarks.evaluate", (), ("--images", "20", "--repeats", "1"), 3),
    Run("report", "Selection and report", "benchmarks.report", (), ("--images", "200", "--classes", "20"), 1),
    Run("serve", "Serving", "benchmarks.serve", (), ("--quick", "--size", "96"), 12, ("wrk",)),
    Run(
        "serve-peers",
        "Serving, against other servers",
        "benchmarks.serve",
        (
            *("--payload", "jpeg", "--connections", "8", "--open-seconds", "4"),
            *(word for peer in ("triton", "mosec", "kserve", "litserve", "fastapi") for word in ("--peer", peer)),
        ),
        ("--quick", "--size", "96", "--payload", "jpeg", "--connections", "8", "--peer", "fastapi"),
        minutes=11,
        programs=("wrk",),
        only_named="PyPI, for the environments of the other servers in ./peers (3 GB)",
    ),
    Run("growth-images", "How cost grows with images", "benchmarks.growth_images", (), ("--images", "200", "400"), 5),
    Run("growth-domains", "How cost grows with domains", "benchmarks.growth_domains", (), ("--domains", "3", "4"), 3),
    Run("growth-trials", "How cost grows with trials", "benchmarks.growth_trials", (), ("--trials", "1", "4"), 3),
    Run(
        "growth-clients",
        "How cost grows with clients",
        "benchmarks.growth_clients",
        (),
        ("--clients", "1", "4", "--seconds", "1"),
        2,
        ("wrk",),
    ),
)


def choose(options: argparse.Namespace) -> list[Run]:
    """Return the runs that are asked for. Raises ValueError if a name is none."""
    names = {run.name for run in RUNS}
    if unknown := sorted(set(options.only) - names):
        raise ValueError(f"--only: expected names among {', '.join(sorted(names))}, found {', '.join(unknown)}")
    return [run for run in RUNS if (run.name in options.only if options.only else not run.only_named)]
