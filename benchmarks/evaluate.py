"""Evaluation of 24 trials with their soups and ensembles, against the naive loop: time and peak memory.

    python -m benchmarks.evaluate

The naive loop computes logits where it needs them: every metric of every model goes over the images again, and an
ensemble loads its members and computes theirs again. Ours is `oodtune evaluate`, checks of all hashes included, and
metrics of the stored logits. Networks have random weights, images are drawn. Time is measured by turns in this
process; memory is that of a fresh process for every side, beyond what it had before it began. Exits with 1 if a target
is missed.
"""

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import torch

from benchmarks.drawn_trials import network_spec, write_cache, write_trials
from benchmarks.figures import describe_machine, write_figures
from benchmarks.memory import read_status, watch
from benchmarks.ratio import Bound, Contest, Ratio, measure
from oodtune.artifact import Artifact, create_artifact, open_artifact
from oodtune.combine.ensemble import logit_ensemble, probability_ensemble
from oodtune.combine.soup import uniform_soup
from oodtune.config import CombineConfig, SweepConfig
from oodtune.data.cache import open_cache
from oodtune.evaluate.calibration import expected_calibration_error
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import Labels, Logits, accuracy
from oodtune.evaluate.outcomes import judge
from oodtune.evaluate.predictions import Split, open_predictions
from oodtune.model.initial import load_network
from oodtune.model.weights import load_weights, save_weights
from oodtune.stages import evaluate
from oodtune.trial import NetworkSpec, Soup, SoupRecord, Trial, plan_trials

PROJECT_DIR = Path(__file__).parents[1]
TARGET = 1.0
DOMAINS = ("clay", "ink", "oil", "wax")
SWEEP = SweepConfig(
    target_domains=DOMAINS,
    methods=("plain", "large_dropout"),
    learning_rates=(5e-5,),
    weight_decays=(1e-4,),
    seeds=(0, 1, 2),
)
PARAMS = evaluate.Params(sweep=SWEEP, combine=CombineConfig(by_method=False, ensembles=("logit", "probability")))
CPU = torch.device("cpu")
METRICS: dict[str, Callable[[Logits, Labels], float]] = {
    "accuracy": accuracy,
    "calibration error": lambda logits, labels: expected_calibration_error(judge(logits, labels)),
}
ENSEMBLES = {"logit": logit_ensemble, "probability": probability_ensemble}
FRESH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks import evaluate
print(Path("/proc/self/status").read_text(), flush=True)
evaluate.SIDES[sys.argv[2]](Path(sys.argv[3]))
"""

Found = dict[tuple[str, str, str, str], float]
"""(target domain, model, scored domain and split, metric) -> value."""


@dataclass(frozen=True)
class Memory:
    side: str
    private_megabytes: float
    """The most of memory of its own (RssAnon) beyond what the process had at first."""
    resident_megabytes: float
    """With the mapped pages of files (VmHWM)."""

    def __str__(self) -> str:
        return f"{self.side}: {self.private_megabytes:.0f} MB, with mapped files {self.resident_megabytes:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet10t", help="timm name (default: %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="of images, in pixels (default: %(default)s)")
    parser.add_argument("--images", type=int, default=60, help="images of every domain (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="measured turns of each contest (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_inputs(directory, options)
        check_same(directory)
        memory = [measure_memory(side, directory) for side in SIDES]
        ours, naive = (one.private_megabytes for one in memory)
        bound = Bound("memory of its own, at most the naive loop's", ours, naive, "MB")
        print(*memory, bound, sep="\n", flush=True)
        ratios = [measure(contest, options.repeats) for contest in contests(directory)]
        print(*ratios, sep="\n", flush=True)
    machine = describe_machine("torch", "timm", "numpy") | {"threads": torch.get_num_threads()}
    write_figures(options, machine, ratios, [bound], memory=[asdict(one) for one in memory])
    judged: list[Bound | Ratio] = [bound, *ratios]
    sys.exit(not all(one.met for one in judged))


def contests(directory: Path) -> list[Contest]:
    num_trials = len(plan_trials(SWEEP))
    ours = ("oodtune: logits once, then metrics", partial(evaluate_ours, directory))
    return [
        Contest(
            f"evaluation of {num_trials} trials, in trials/s",
            ours,
            (f"{len(METRICS)} metrics and all ensembles, logits computed for each", partial(evaluate_naive, directory)),
            num_trials,
            TARGET,
        ),
        Contest(
            "the same again, logits known, in trials/s",
            ("oodtune: known logits, then metrics", partial(evaluate_again, directory)),
            ours,
            num_trials,
            TARGET,
        ),
    ]


def evaluate_ours(directory: Path) -> Found:
    """Evaluate with nothing known beforehand."""
    shutil.rmtree(directory / "predictions", ignore_errors=True)
    return evaluate_again(directory)


def evaluate_again(directory: Path) -> Found:
    """Evaluate with the logits of the last time, if there was one."""
    out = directory / "predictions"
    with redirect_stderr(StringIO()):  # its bar
        evaluate.run(directory / "cache", [directory / "trials"], directory / "soups", out, PARAMS, "cpu")
    predictions = open_predictions(out)
    labels = {key: predictions.labels(*key) for domain in DOMAINS for key in predictions.whole(domain)}
    found: Found = {}
    for model in predictions.models:
        for domain, split in predictions.splits(model.target_domain):
            logits = predictions.logits(model, domain, split)
            for name, metric in METRICS.items():
                key = (model.target_domain, model.name, f"{domain} {split}", name)
                found[key] = metric(logits, labels[domain, split])
    return found


def evaluate_naive(directory: Path) -> Found:
    """Load the networks of every model for every metric, and compute their logits."""
    cache = open_cache(directory / "cache")
    soups = open_artifact(directory / "soups", "soup", verify=False)
    spec = SoupRecord.model_validate(soups.details).network
    models = list_models(directory)
    found: Found = {}
    for name, metric in METRICS.items():
        for (target, model), (paths, combine) in models.items():
            networks = [load_network(spec, path) for path in paths]
            for domain, split in splits(target):
                examples = cache.examples(domain, split)
                logits = combine([compute_logits(network, examples.images, CPU) for network in networks])
                found[target, model, f"{domain} {split}", name] = metric(logits, examples.labels)
    return found


def list_models(directory: Path) -> Mapping[tuple[str, str], tuple[Sequence[Path], Callable[[list[Logits]], Logits]]]:
    """Return (target domain, model) -> the weights of its networks, and what is made of their logits."""
    models: dict[tuple[str, str], tuple[Sequence[Path], Callable[[list[Logits]], Logits]]] = {}
    by_target: dict[str, list[Path]] = defaultdict(list)
    for trial in plan_trials(SWEEP):
        path = directory / "trials" / trial.name / "weights.safetensors"
        models[trial.target_domain, trial.name] = ([path], lambda logits: logits[0])
        by_target[trial.target_domain].append(path)
    for target, paths in by_target.items():
        soup = directory / "soups" / target / "uniform_soup.safetensors"
        models[target, "uniform_soup"] = ([soup], lambda logits: logits[0])
        for rule, combine in ENSEMBLES.items():
            models[target, f"{rule}_ensemble"] = (paths, combine)
    return models


def splits(target: str) -> list[tuple[str, Split]]:
    sources: list[tuple[str, Split]] = [(domain, "out") for domain in DOMAINS if domain != target]
    return [*sources, (target, "in"), (target, "out")]


SIDES: dict[str, Callable[[Path], Found]] = {"ours": evaluate_ours, "naive": evaluate_naive}


def check_same(directory: Path) -> None:
    """Make sure that both sides find the same of the same models."""
    ours, naive = evaluate_ours(directory), evaluate_naive(directory)
    assert ours.keys() == naive.keys(), ours.keys() ^ naive.keys()
    assert all(abs(ours[key] - value) < 1e-3 for key, value in naive.items())
    print(f"both sides agree on {len(ours)} values of {len({key[:2] for key in ours})} models", flush=True)


def measure_memory(side: str, directory: Path) -> Memory:
    peak = watch([sys.executable, "-c", FRESH, str(PROJECT_DIR), side, str(directory)], directory)
    first = read_status((directory / "stdout").read_text())
    taken = {name: peak.megabytes[name] - first[name] for name in ("RssAnon", "VmHWM")}
    return Memory(side, taken["RssAnon"], taken["VmHWM"])


def write_inputs(directory: Path, options: argparse.Namespace) -> None:
    """Write a cache of drawn images, trials that differ by noise, and the uniform soup of every target domain."""
    cache = write_cache(directory / "cache", DOMAINS, options.size, options.images)
    spec = network_spec(options.backbone, options.size)
    trials = write_trials(directory / "trials", SWEEP, spec)
    write_soups(directory / "soups", cache.artifact, trials, spec)


def write_soups(path: Path, cache: Artifact, trials: Mapping[Trial, Artifact], spec: NetworkSpec) -> None:
    names = {trial.name: artifact for trial, artifact in trials.items()}
    with create_artifact(path, "soup", None, {"cache": cache, **names}) as writer:
        soups = []
        for target in DOMAINS:
            own = {t.name: a.path / "weights.safetensors" for t, a in trials.items() if t.target_domain == target}
            file = f"{target}/uniform_soup.safetensors"
            save_weights(uniform_soup({n: partial(load_weights, p) for n, p in own.items()}), writer.path / file)
            soup = Soup(
                target_domain=target, name="uniform_soup", row="uniform_soup", ingredients=tuple(own), path=file
            )
            soups.append(soup)
        record = SoupRecord(network=spec, soups=tuple(soups), trials=tuple(names))
        writer.details.update(record.model_dump(mode="json"))


if __name__ == "__main__":
    main()
