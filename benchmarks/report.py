"""Selection and report of a large sweep from its stored logits, in seconds, beside merely reading the files.

    python -m benchmarks.report

Writes a cache, trials and logits of 24 trials, their soups and ensembles: 6 domains, 345 classes, as in DomainNet, with
fewer images. Every stage runs in a process of its own, imports and verification of all hashes included. Exits with 1
if selection and report together take longer than they may.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.figures import describe_machine, write_figures
from benchmarks.ratio import Bound
from oodtune.artifact import Artifact, create_artifact, open_artifact
from oodtune.config import AugmentConfig, MethodConfig, PreprocessConfig, ReportConfig, SelectConfig, TrainConfig
from oodtune.data.index import IndexRow, write_index
from oodtune.evaluate.predictions import Model, Split, splits_to_score, write_examples, write_logits
from oodtune.stages import report, select
from oodtune.stages.train import Params as TrainParams
from oodtune.trial import NetworkSpec, Trial, TrialRecord

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
METHODS = {"plain": 0.0, "large_dropout": 0.9}
SEEDS = (0, 1)
TARGET_S = 30.0
SHARES: dict[Split, float] = {"in": 0.8, "out": 0.2}
_SIZE = 32

Labels = dict[tuple[str, Split], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Times:
    models: int
    classes: int
    images_per_domain: int
    gigabytes: float
    read_s: float
    """Of loading every file once, in one process, from a warm page cache."""
    select_s: float
    report_s: float

    def __str__(self) -> str:
        return (
            f"{self.models} models, {self.classes} classes, {self.images_per_domain} images a domain, "
            f"{self.gigabytes:.2f} GB of logits\n"
            f"    {self.read_s:6.1f} s reading alone\n    {self.select_s:6.1f} s select\n"
            f"    {self.report_s:6.1f} s report"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, help="images of every domain")
    parser.add_argument("--classes", type=int, default=345)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        times = measure(Path(directory), options.images, options.classes)
    bound = Bound(f"selection and report of {times.models} models", times.select_s + times.report_s, TARGET_S, "s")
    print(times, bound, sep="\n", flush=True)
    write_figures(options, describe_machine("numpy", "jinja2"), (), [bound], times=asdict(times))
    return 0 if bound.met else 1


def measure(directory: Path, num_images: int, num_classes: int) -> Times:
    """Write the inputs below `directory`, then time what is made of them."""
    classes = tuple(f"class{place:03}" for place in range(num_classes))
    truth = draw_labels(num_images, num_classes)
    cache = write_cache(directory / "cache", truth, classes)
    trials = [write_trial(directory / "trials" / trial.name, trial, classes) for trial in plan()]
    models = write_predictions(directory / "predictions", cache, trials, truth, classes)
    files = sorted((directory / "predictions" / "logits").rglob("*.npy"))
    select_params = select.Params(select=SelectConfig(target_domain=DOMAINS[-1]))
    selecting = partial(select.run, directory / "predictions", directory / "selection", select_params)
    reporting = partial(
        report.run,
        directory / "cache",
        [directory / "trials"],
        directory / "predictions",
        directory / "selection",
        directory / "report",
        report.Params(report=ReportConfig()),
    )
    return Times(
        models=models,
        classes=num_classes,
        images_per_domain=num_images,
        gigabytes=sum(path.stat().st_size for path in files) / 1e9,
        read_s=seconds(partial(read_all, files)),
        select_s=seconds(selecting),
        report_s=seconds(reporting),
    )


def seconds(work: Callable[[], None]) -> float:
    """Return how long `work` takes in a new process."""
    process = multiprocessing.get_context("spawn").Process(target=work)
    start = time.perf_counter()
    process.start()
    process.join()
    assert process.exitcode == 0, f"a process ended with {process.exitcode}"
    return time.perf_counter() - start


def read_all(files: list[Path]) -> None:
    for path in files:
        np.load(path, allow_pickle=False)


def plan() -> list[Trial]:
    return [
        Trial(target_domain=target, method=method, learning_rate=5e-05, weight_decay=0.0001, seed=seed)
        for target in DOMAINS
        for method in METHODS
        for seed in SEEDS
    ]


def draw_labels(num_images: int, num_classes: int) -> Labels:
    random = np.random.default_rng(0)
    return {
        (domain, split): np.sort(random.integers(0, num_classes, int(num_images * share)))
        for domain in DOMAINS
        for split, share in SHARES.items()
    }


def image_ids(domain: str, split: Split, labels: npt.NDArray[np.int64], classes: tuple[str, ...]) -> list[str]:
    return [f"{domain}/{classes[label]}/{split}{number:07}.png" for number, label in enumerate(labels)]


def write_cache(path: Path, truth: Labels, classes: tuple[str, ...]) -> Artifact:
    rows = [
        IndexRow(name, domain, name.split("/")[1], split)
        for (domain, split), labels in truth.items()
        for name in image_ids(domain, split, labels, classes)
    ]
    with create_artifact(path, "cache") as writer:
        (writer.path / "images").mkdir()
        for domain in DOMAINS:
            count = sum(row.domain == domain for row in rows)
            np.save(writer.path / "images" / f"{domain}.npy", np.zeros((count, _SIZE, _SIZE, 3), np.uint8))
        write_index(rows, writer.path / "index.csv")
        preprocess = PreprocessConfig(size=_SIZE).model_dump(mode="json")
        writer.details.update(domains=list(DOMAINS), classes=list(classes), origins=[], preprocess=preprocess)
    return open_artifact(path, "cache")


def write_trial(path: Path, trial: Trial, classes: tuple[str, ...]) -> Artifact:
    method = MethodConfig(dropout=METHODS[trial.method])
    params = TrainParams(augment=AugmentConfig(), train=TrainConfig(steps=300), method=method)
    with create_artifact(path, "trial", params) as writer:
        lines = [{"step": step, "loss": 0.5, "source_accuracy": 0.5 + step / 1000} for step in range(0, 301, 30)]
        (writer.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        record = TrialRecord(
            trial=trial,
            network=NetworkSpec(backbone="resnet50", classes=classes, preprocess=PreprocessConfig()),
            init_digest="0" * 64,
            best_step=300,
            source_accuracy=0.8,
        )
        writer.details.update(record.model_dump(mode="json"))
    return open_artifact(path, "trial")


def write_predictions(
    path: Path, cache: Artifact, trials: list[Artifact], truth: Labels, classes: tuple[str, ...]
) -> int:
    """Write logits of every trial and of a soup and an ensemble of each target's; return the number of models."""
    models = list_models(trials)
    random = np.random.default_rng(1)
    with create_artifact(path, "predictions", None, {"cache": cache, **{t.path.name: t for t in trials}}) as writer:
        for (domain, split), labels in truth.items():
            write_examples(writer.path, domain, split, image_ids(domain, split, labels, classes), labels)
        for model in models:
            for domain, split in splits_to_score(DOMAINS, model.target_domain):
                labels = truth[domain, split]
                logits = random.standard_normal((len(labels), len(classes)), np.float32)
                logits[np.arange(len(labels)), labels] += 3.0 if domain == model.target_domain else 4.0
                write_logits(writer.path, model, domain, split, logits)
        details = [model.model_dump(mode="json") for model in models]
        writer.details.update(domains=list(DOMAINS), classes=list(classes), models=details)
    return len(models)


def list_models(trials: list[Artifact]) -> list[Model]:
    records = [TrialRecord.model_validate(one.details).trial for one in trials]
    models = []
    for target in DOMAINS:
        own = [one for one in records if one.target_domain == target]
        models += [
            Model(
                target_domain=target,
                name=one.name,
                kind="trial",
                row=one.method,
                seed=one.seed,
                learning_rate=one.learning_rate,
                weight_decay=one.weight_decay,
                num_bytes=100_000_000,
            )
            for one in own
        ]
        names = tuple(one.name for one in own)
        made: dict[str, dict[str, object]] = {
            "uniform_soup": {"kind": "soup", "num_bytes": 100_000_000},
            "logit_ensemble": {"kind": "ensemble", "num_bytes": 100_000_000 * len(names)},
        }
        models += [
            Model.model_validate({"target_domain": target, "name": name, "row": name, "members": names, **more})
            for name, more in made.items()
        ]
    return models


if __name__ == "__main__":
    sys.exit(main())
