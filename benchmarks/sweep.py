"""Throughput of a sweep: several trials at once on one device against one after another, and against threads.

    python -m benchmarks.sweep --backbone tf_efficientnet_lite0 --size 96 --batch-per-domain 8

A turn trains the same trials from one cache of drawn images, from random weights, in processes that are already
there, as those of a sweep are from their second trial on; reading, checkpoints and writing the trials are in it. What
a new process costs is measured apart. Threads of one process share torch's generator, so there trials would no longer
follow from their seeds; they are timed all the same, to know what processes cost or gain. Exits with 1 if a target is
missed.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.figures import describe_machine, write_figures
from benchmarks.photographs import CLASSES, DOMAINS, draw_photographs
from benchmarks.ratio import Contest, Ratio, measure
from oodtune.artifact import open_artifact
from oodtune.config import (
    AugmentConfig,
    BackboneConfig,
    DataConfig,
    MethodConfig,
    PreprocessConfig,
    ProbeConfig,
    TrainConfig,
)
from oodtune.model.network import build_network
from oodtune.model.weights import save_weights
from oodtune.progress import silent
from oodtune.stages import cache, init, prepare, sweep, train
from oodtune.stages.sweep_crew import Crew
from oodtune.stages.sweep_plan import Inputs, Standing, look_at_trial
from oodtune.trial import NetworkSpec, Trial

TARGET = DOMAINS[0]


@dataclass(frozen=True)
class Bench:
    """What all contests share."""

    root: Path
    options: argparse.Namespace
    params: train.Params
    inputs: Inputs

    @property
    def num_images(self) -> int:
        """Trained on in one turn."""
        config = self.params.train
        num_sources = self.inputs.num_sources(self.standings()[0].trial)
        return int(self.options.trials) * config.steps * config.batch_per_domain * num_sources

    def standings(self) -> list[Standing]:
        """Return trials of which nothing is there."""
        out = self.root / "trials"
        shutil.rmtree(out, ignore_errors=True)
        trials = [
            Trial(target_domain=TARGET, method="plain", learning_rate=1e-4, weight_decay=1e-4, seed=seed)
            for seed in range(self.options.trials)
        ]
        return [look_at_trial(one, self.params, self.inputs.digests, out / one.name) for one in trials]

    def run_processes(self, crew: Crew) -> None:
        """Train all trials, as many at once as the crew is large."""
        num_threads = sweep.share_cpus(crew.size)
        waiting = [sweep.make_task(one, self.inputs, self.options.device, num_threads) for one in self.standings()]
        while waiting or crew.num_busy:
            while waiting and crew.has_room:
                crew.give(waiting.pop())
            heard = crew.listen(timeout_s=1.0)
            assert heard is None or heard[1].state in ("running", "said", "finished"), heard

    def run_threads(self, concurrency: int) -> None:
        """Train all trials in threads of this process; each has its share of the CPUs, as processes have."""
        before = torch.get_num_threads()
        torch.set_num_threads(sweep.share_cpus(concurrency) or before)
        try:
            with ThreadPoolExecutor(concurrency) as pool:
                list(pool.map(self._train, self.standings()))
        finally:
            torch.set_num_threads(before)

    def _train(self, one: Standing) -> None:
        train.run(
            self.inputs.cache.path, self.inputs.init.path, one.out, one.params, one.trial, self.options.device, silent
        )


def main() -> None:
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as directory:
        bench = _prepare(Path(directory), options)
        start_s = _seconds_to_start(bench)
        print(f"a new process: {start_s:.1f} s until it trains as fast as one that has trained a trial", flush=True)
        results: list[Ratio] = []
        with Crew(1) as alone:
            for concurrency in options.concurrency:
                for contest in _contests(bench, alone, concurrency):
                    results.append(measure(contest, options.repeats))
                    print(results[-1], flush=True)
    write_figures(options, describe_machine("oodtune", "torch", "timm"), results, start_s=start_s)
    sys.exit(0 if all(one.met for one in results) else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="a timm name (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, help="of images, in pixels (default: %(default)s)")
    parser.add_argument("--batch-per-domain", type=int, default=8, help="three domains are trained on (default: 8)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--images", type=int, default=800, help="how many to draw (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=4, help="of one turn (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="of each trial (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[2, 4], help="trials at once (default: 2 4)")
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each contest (default: 3)")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def _prepare(root: Path, options: argparse.Namespace) -> Bench:
    preprocess = PreprocessConfig(size=options.size)
    draw_photographs(root / "images", options.images, width=227, height=227)
    prepare.run(root / "dataset", prepare.Params(data=DataConfig(source="folder", root=root / "images")))
    cache.run(root / "dataset", root / "cache", cache.Params(preprocess=preprocess))
    weights = root / "backbone.safetensors"
    torch.manual_seed(0)
    spec = NetworkSpec(backbone=options.backbone, classes=CLASSES, preprocess=preprocess)
    save_weights(build_network(spec).backbone.state_dict(), weights)
    backbone = BackboneConfig(name=options.backbone, weights=str(weights))
    probe = ProbeConfig(max_iterations=1)
    init.run(
        root / "cache",
        root / "init",
        init.Params(backbone=backbone, probe=probe, target_domains=(TARGET,)),
        options.device,
    )
    config = TrainConfig(
        steps=options.steps,
        batch_per_domain=options.batch_per_domain,
        precision=options.precision,
        snapshot_every=options.steps,
        checkpoint_every=options.steps,
    )
    params = train.Params(augment=AugmentConfig(), train=config, method=MethodConfig(dropout=0.9))
    inputs = Inputs(open_artifact(root / "cache", "cache"), open_artifact(root / "init", "init"))
    return Bench(root, options, params, inputs)


def _contests(bench: Bench, alone: Crew, concurrency: int) -> Iterator[Contest]:
    """Yield two contests of `concurrency` trials at once: against one after another, and against threads."""
    with Crew(concurrency) as crew:
        ours = (f"{concurrency} trials at once, in processes", lambda: bench.run_processes(crew))
        one_by_one = ("one trial after another", lambda: bench.run_processes(alone))
        threads = (f"{concurrency} trials at once, in threads", lambda: bench.run_threads(concurrency))
        yield Contest(f"{concurrency} at once / one after another", ours, one_by_one, bench.num_images, target=1.0)
        yield Contest(f"{concurrency} processes / {concurrency} threads", ours, threads, bench.num_images, target=1.0)


def _seconds_to_start(bench: Bench) -> float:
    """Return how much longer a turn takes in a new process than in the same process again."""
    with Crew(1) as crew:
        first_s, second_s = (_seconds(lambda: bench.run_processes(crew)) for _ in range(2))
    return first_s - second_s


def _seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


if __name__ == "__main__":
    main()
