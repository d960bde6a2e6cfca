"""A sweep from its trials to its report, as commands, timed: what grows with trials and with domains.

Trials have random weights (resnet10t at 64 px), images are drawn. Commands run as users run them, start-up included;
memory is the most that the process had of its own.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.drawn_trials import network_spec, write_cache, write_trials
from benchmarks.growth import LINEAR, SLOW, Curve, time_commands
from benchmarks.settings import write_settings
from oodtune.artifact import open_artifact
from oodtune.config import SweepConfig, load_config
from oodtune.model.initial import InitialStates
from oodtune.model.network import build_network
from oodtune.model.weights import save_weights
from oodtune.stages import init

BACKBONE, SIZE = "resnet10t", 64


def make_curves() -> dict[str, Curve]:
    names = ("combine", "evaluate", "again", "select", "report")
    seconds = {name: Curve(name, "s", most_exponent=LINEAR) for name in names}
    return seconds | {f"{name} memory": Curve(name, "MB", most_exponent=SLOW) for name in names}


def write_inputs(directory: Path, domains: Sequence[str], images_per_domain: int, sweep: SweepConfig) -> None:
    """Write `params.yaml`, a cache, an initial state of random weights and the trials of `sweep`."""
    spec = network_spec(BACKBONE, SIZE)
    weights = directory / "backbone.safetensors"
    save_weights(build_network(spec).backbone.state_dict(), weights)
    write_settings(
        directory,
        preprocess={"size": SIZE},
        backbone={"name": BACKBONE, "weights": str(weights)},
        probe={"max_iterations": 1},
        sweep=sweep.model_dump(mode="json"),
        select={"target_domain": sweep.target_domains[0], "baseline": "plain"},
        combine={"soups": ["uniform", "greedy"]},
    )
    config = load_config(directory / "params.yaml")
    write_cache(directory / "cache", domains, SIZE, images_per_domain)
    init.run(directory / "cache", directory / "init", init.Params.from_config(config), "cpu")
    states = InitialStates.model_validate(open_artifact(directory / "init", "init").details)
    write_trials(directory / "trials", sweep, spec, states.init_digests)


def measure(directory: Path) -> dict[str, float]:
    """Return curve -> value."""
    cache, trials, soups = ["--cache", "cache"], ["--trials", "trials"], ["--soups", "soups"]
    predictions, selection = ["--predictions", "predictions"], ["--selection", "selection"]
    evaluate = ["evaluate", *cache, *trials, *soups, "--out", "predictions"]
    commands = {
        "combine": ["combine", *cache, "--init", "init", *trials, "--out", "soups"],
        "evaluate": evaluate,
        "again": evaluate,
        "select": ["select", *predictions, "--out", "selection"],
        "report": ["report", *cache, *trials, *predictions, *selection, "--out", "report"],
    }
    return time_commands(commands, directory)
