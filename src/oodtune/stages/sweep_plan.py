"""What of a sweep is done, what is begun, what is missing, and what the rest will cost. Nothing here trains."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from oodtune import __version__
from oodtune.artifact import SCHEMA, Artifact, Manifest, open_artifact
from oodtune.config import Config, MethodConfig, TrainConfig, held_out_domains
from oodtune.errors import ArtifactError, DataError
from oodtune.stages import train
from oodtune.trial import Trial, plan_trials

State = Literal["done", "begun", "missing"]

_CHECKPOINTS: Final = 3
"""Of one trial on disk at most: two generations, and the one that is being written."""
_SHOWN_KEYS: Final = 3
_HEADS: Final = "heads/"
"""Where an `init` keeps its heads, of which a trial has one."""


@dataclass(frozen=True)
class Standing:
    """One trial of a sweep, and how far it is."""

    trial: Trial
    params: train.Params
    out: Path
    state: State
    step: int = 0
    """Steps that need not be trained again."""
    reason: str = ""
    """Why what lies at `out` does not count; empty if nothing does."""

    @property
    def num_steps(self) -> int:
        """Steps to train; fewer if the method ends early."""
        return self.params.train.steps - self.step


@dataclass(frozen=True)
class Inputs:
    """What every trial of a sweep reads."""

    cache: Artifact
    init: Artifact

    @property
    def digests(self) -> dict[str, str]:
        return {"cache": self.cache.digest, "init": self.init.digest}

    def num_sources(self, trial: Trial) -> int:
        """Return how many domains a trial is trained on."""
        return len(self.cache.details["domains"]) - len(held_out_domains(trial.target_domain))


@dataclass(frozen=True)
class Cost:
    """What the trials that are not done will take, at most."""

    num_steps: int
    num_images: int
    """Trained on in all, each time counted."""
    weights_bytes: int
    """Of the finished trials, with the states they keep of their trajectories."""
    checkpoint_bytes: int
    """Of all checkpoints that lie on the disk at once, until their trials are finished."""
    free_bytes: int
    """On the disk of the trials, now."""

    @property
    def fits(self) -> bool:
        return self.weights_bytes + self.checkpoint_bytes <= self.free_bytes


def open_inputs(cache: Path, init: Path, config: Config) -> Inputs:
    """Open what the trials of a sweep read; hashes it once for all of them.

    Raises ArtifactError if one is not there, or `init` lacks a target domain; DataError if `cache` lacks one.
    """
    inputs = Inputs(open_artifact(cache, "cache", verify="once"), open_artifact(init, "init", verify="once"))
    domains, heads = inputs.cache.details["domains"], inputs.init.details["init_digests"]
    for target in config.sweep.target_domains:
        for domain in held_out_domains(target):
            if domain not in domains:
                raise DataError(f"{cache}: expected a target domain among {domains}, found {domain!r} in the sweep")
        if target not in heads:
            raise ArtifactError(
                f"{init}: expected an initial state for target domain {target!r}, found only {sorted(heads)}; "
                "run `oodtune init` again"
            )
    return inputs


def look_at_trials(config: Config, inputs: Inputs, out: Path) -> list[Standing]:
    """Return how far every trial of the sweep is, in planned order; each has the directory of its name in `out`.

    Raises ConfigError if a method is unknown.
    """
    planned = [(trial, train.Params.for_trial(config, trial)) for trial in plan_trials(config.sweep)]
    return [look_at_trial(trial, params, inputs.digests, out / trial.name) for trial, params in planned]


def look_at_trial(trial: Trial, params: train.Params, digests: Mapping[str, str], out: Path) -> Standing:
    """Return how far one trial is. A finished one counts if its settings, inputs and version are these."""
    expected = {"params": params.model_dump(mode="json"), "inputs": dict(digests), "version": __version__}
    reason = _why_not_done(trial, expected, out)
    if reason is None:
        return Standing(trial, params, out, "done", params.train.steps)
    step = _newest_checkpoint(expected, out)
    return Standing(trial, params, out, "missing" if step is None else "begun", step or 0, reason)


def estimate_cost(standings: Sequence[Standing], inputs: Inputs, concurrency: int) -> Cost:
    """Return what training the trials that are not done takes, `concurrency` at once."""
    left = [one for one in standings if one.state != "done"]
    weights = _weights_bytes(inputs.init)
    checkpoints = sorted((_count_copies(one.params.train, one.params.method) for one in left), reverse=True)
    return Cost(
        num_steps=sum(one.num_steps for one in left),
        num_images=sum(
            one.num_steps * one.params.train.batch_per_domain * inputs.num_sources(one.trial) for one in left
        ),
        weights_bytes=weights * sum(1 + _count_kept(one.params.train) for one in left),
        checkpoint_bytes=weights * _CHECKPOINTS * sum(checkpoints[:concurrency]),
        free_bytes=_free_bytes(left[0].out if left else inputs.init.path),
    )


def _why_not_done(trial: Trial, expected: Mapping[str, Any], out: Path) -> str | None:
    """Return why what lies at `out` is not the finished trial: "" if nothing lies there, None if it is."""
    if not out.exists():
        return ""
    try:
        manifest = open_artifact(out, "trial", verify=False).manifest
        reason = _first_difference(trial, expected, manifest)
        if reason is None:
            open_artifact(out, "trial", verify="once")
    except ArtifactError as error:
        return str(error).removeprefix(f"{out}: ").partition(";")[0]
    return reason


def _first_difference(trial: Trial, expected: Mapping[str, Any], manifest: Manifest) -> str | None:
    if manifest.version != expected["version"]:
        return f"made by oodtune {manifest.version}"
    for name, digest in expected["inputs"].items():
        if manifest.inputs.get(name) != digest:
            return f"other {name}"
    if manifest.params != expected["params"]:
        keys = list(_differing_keys(expected["params"], manifest.params))
        more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
        return f"other settings: {', '.join(keys[:_SHOWN_KEYS])}{more}"
    if manifest.details.get("trial") != trial.model_dump(mode="json"):
        return "another trial under this name"
    return None


def _differing_keys(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterable[str]:
    for section, values in expected.items():
        others = found.get(section, {})
        yield from (f"{section}.{key}" for key in values if key not in others or others[key] != values[key])
        yield from (f"{section}.{key}" for key in others if key not in values)


def _newest_checkpoint(expected: Mapping[str, Any], out: Path) -> int | None:
    """Return the step of the newest checkpoint that training at `out` would go on from, None without one."""
    partial = partial_of(out)
    try:
        begun = json.loads((partial / "begun.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if begun != {**expected, "schema": SCHEMA, "kind": "trial"}:
        return None
    steps = [path.name.partition("-")[0] for path in (partial / "notes").glob("*-*.safetensors")]
    return max(map(int, steps), default=None)


def partial_of(out: Path) -> Path:
    """Return the hidden directory of a trial that is not finished; see `create_artifact`."""
    return out.parent / f".{out.name}.partial"


def _weights_bytes(init: Artifact) -> int:
    """Return the size of a network's weights in float32: the backbone of `init` and its largest head."""
    sizes = {name: (init.path / name).stat().st_size for name in init.manifest.files}
    heads = [size for name, size in sizes.items() if name.startswith(_HEADS)]
    return sum(sizes.values()) - sum(heads) + max(heads, default=0)


def _count_kept(config: TrainConfig) -> int:
    """Return how many states of its trajectory a trial keeps."""
    return config.steps // config.keep_every if config.keep_every else 0


def _count_copies(config: TrainConfig, method: MethodConfig) -> int:
    """Return how many times the weights are in a checkpoint, at most: live, kept, optimiser, averages in float64."""
    optimiser = 2 if config.optimiser == "adamw" else int(config.momentum > 0.0)
    sums = {"none": 0, "sma": 1, "swad": max(method.swad_converge, method.swad_tolerance) + 2}[method.average]
    return 2 + optimiser + 2 * sums


def _free_bytes(place: Path) -> int:
    """Return the free space where `place` is or will be."""
    return shutil.disk_usage(next(parent for parent in place.absolute().parents if parent.exists())).free
