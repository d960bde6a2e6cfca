"""Training: a step against the bare update, and images/s against a DataLoader with augmentation in PIL.

    python -m benchmarks.train --backbone tf_efficientnet_lite0 --size 96 --batch-per-domain 8

Weights are random and images are drawn: neither changes the time of a step. `--domainbed PATH` adds DomainBed's own
training, out of a checkout of it or of the paper's code. Prints a line for every ratio, what memory each side takes,
and the share of a trial's time that evaluation takes; exits with 1 if a target is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from benchmarks.figures import describe_machine, write_figures
from benchmarks.photographs import DOMAINS, draw_photographs
from benchmarks.ratio import Contest, Ratio, measure
from benchmarks.train_bench import Bench, Stepper, evaluation_share
from benchmarks.train_domainbed import SIZE, AsDomainBed, Checkout, import_checkout
from benchmarks.train_rivals import FromFiles
from benchmarks.turn_memory import TurnMemory, Watched
from oodtune.config import DataConfig, PreprocessConfig, TrainConfig
from oodtune.errors import ConfigError, UserError
from oodtune.model.device import choose_device
from oodtune.stages import cache, prepare
from oodtune.train.update import choose_precision

OUT_FRACTION = 0.2
OURS = "steps of oodtune: read, augment, update"


@dataclass
class Figures:
    """What a run finds out."""

    ratios: list[Ratio] = field(default_factory=list)
    memory: dict[str, TurnMemory] = field(default_factory=dict)
    """Of what each side of a contest does."""
    evaluation_shares: dict[str, float] = field(default_factory=dict)

    def add(self, contest: Contest, bench: Bench) -> None:
        """Measure a contest, and print what came out."""
        ours, theirs = (Watched(side[1], bench.device) for side in (contest.ours, contest.theirs))
        watched = replace(contest, ours=(contest.ours[0], ours), theirs=(contest.theirs[0], theirs))
        self.ratios.append(measure(watched, bench.options.repeats))
        print(self.ratios[-1], flush=True)
        for what, memory in ((contest.ours[0], ours.memory), (contest.theirs[0], theirs.memory)):
            assert memory is not None
            self.memory.setdefault(what, memory)  # what is built already takes no more a second time

    def add_share(self, what: str, share: float) -> None:
        """Note the share of evaluation in the time of `what`."""
        self.evaluation_shares[what] = share
        print(f"evaluation: {share:.1%} of the time of {what}", flush=True)


def main() -> None:
    options = _parse()
    try:
        checkout = _check(options)
        figures = _run(options, checkout)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    _write(figures, options)
    sys.exit(0 if all(one.met for one in figures.ratios) else 1)


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
    parser.add_argument(
        "--compile", choices=("kernels", "graphs"), help="also: updates compiled by torch, or with CUDA graphs"
    )
    parser.add_argument(
        "--domainbed", type=Path, metavar="PATH", help=f"also: training by this checkout of DomainBed; --size {SIZE}"
    )
    parser.add_argument("--domainbed-workers", type=int, help="for each loader (default: what DomainBed sets)")
    parser.add_argument(
        "--domainbed-evaluation",
        action="store_true",
        help="also: as many steps and one evaluation each; DomainBed evaluates all images, so set --images accordingly",
    )
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def _check(options: argparse.Namespace) -> Checkout | None:
    """Import DomainBed, if it is asked for. Raises ConfigError for what could not be measured, before anything is."""
    device = choose_device(options.device)
    choose_precision(_config(options), device)
    if options.compile == "graphs" and device.type != "cuda":
        raise ConfigError(f"--compile: expected kernels on {device.type}, found graphs, which are CUDA graphs")
    per_domain = int(options.images / len(DOMAINS) * (1 - OUT_FRACTION))
    if per_domain < options.batch_per_domain:
        raise ConfigError(
            f"--images: expected enough for a batch of {options.batch_per_domain} of each domain, found "
            f"{options.images}, of which {per_domain} a domain are trained on"
        )
    if options.domainbed is None:
        if options.domainbed_evaluation or options.domainbed_workers is not None:
            raise ConfigError("--domainbed-evaluation and --domainbed-workers belong to --domainbed, which is not set")
        return None
    if options.size != SIZE:
        raise ConfigError(f"--size: expected {SIZE}, the only one that DomainBed has, found {options.size}")
    return import_checkout(options.domainbed)


def _config(options: argparse.Namespace) -> TrainConfig:
    return TrainConfig(batch_per_domain=options.batch_per_domain, precision=options.precision)


def _run(options: argparse.Namespace, checkout: Checkout | None) -> Figures:
    """Measure everything, and print it as it comes."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as directory:
        bench = Bench(Path(directory), options, _config(options), choose_device(options.device))
        print(f"{_name(bench.device)}: {bench.steps} steps of {bench.batch} images a turn", flush=True)
        _prepare(bench)
        for contest in _contests(bench):
            figures.add(contest, bench)
        if checkout is not None:
            _race_domainbed(checkout, bench, figures)
        figures.add_share(f"a trial of {bench.steps} steps, measured at start, middle and end", evaluation_share(bench))
    for what, memory in figures.memory.items():
        print(f"memory: {memory} for {what}")
    return figures


def _prepare(bench: Bench) -> None:
    """Draw images, and make of them what oodtune trains from."""
    images, dataset = bench.root / "images", bench.root / "dataset"
    draw_photographs(images, bench.options.images, width=227, height=227)
    data = DataConfig(source="folder", root=images, out_fraction=OUT_FRACTION)
    prepare.run(dataset, prepare.Params(data=data))
    cache.run(dataset, bench.root / "cache", cache.Params(preprocess=PreprocessConfig(size=bench.options.size)))


def _contests(bench: Bench) -> Iterator[Contest]:
    ours = (OURS, Stepper(bench).train_from_feed)
    constant = ("updates on one batch in device memory", Stepper(bench).train_on_one_batch)
    yield Contest("training step", ours, constant, bench.num_images, target=1 / 1.05)
    if bench.options.compile is not None:
        compiled = (
            f"the same updates, compiled ({bench.options.compile})",
            Stepper(bench, bench.options.compile).train_on_one_batch,
        )
        yield Contest("compiled update", compiled, constant, bench.num_images, target=1.0)
    loader = ("the same updates fed by ImageFolder, PIL, DataLoader", FromFiles(bench).train)
    yield Contest("training from files", ours, loader, bench.num_images, target=1.0)


def _race_domainbed(checkout: Checkout, bench: Bench, figures: Figures) -> None:
    rival = AsDomainBed(checkout, bench)
    name = f"DomainBed's loaders ({rival.num_workers} workers each) and ERM.update, {bench.options.backbone} of oodtune"
    ours = (OURS, Stepper(bench).train_from_feed)
    figures.add(Contest("training as DomainBed", ours, (name, rival.train), bench.num_images, target=1.0), bench)
    if not bench.options.domainbed_evaluation:
        return
    stepper = Stepper(bench)
    evaluated = f"{bench.steps} steps and an evaluation of"
    ours = (f"oodtune: {evaluated} the source out-splits", stepper.train_and_evaluate)
    theirs = (f"DomainBed: {evaluated} all {rival.num_evaluated} images", rival.train_and_evaluate)
    figures.add(Contest("training and evaluation", ours, theirs, bench.num_images, target=1.0), bench)
    figures.add_share(ours[0], stepper.clock.share)
    figures.add_share(theirs[0], rival.clock.share)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _write(figures: Figures, options: argparse.Namespace) -> None:
    checkout = options.domainbed and options.domainbed.resolve().name  # where it lies is nobody's concern
    write_figures(
        argparse.Namespace(**{**vars(options), "domainbed": checkout}),
        {**describe_machine("oodtune", "torch", "timm"), "device": _name(choose_device(options.device))},
        figures.ratios,
        evaluation_shares=figures.evaluation_shares,
        memory={what: asdict(one) for what, one in figures.memory.items()},
    )


if __name__ == "__main__":
    main()
