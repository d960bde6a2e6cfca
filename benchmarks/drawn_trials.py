"""A cache of drawn images, and trials of random weights: what soups, evaluation and report are measured with."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from oodtune.artifact import Artifact, create_artifact, open_artifact
from oodtune.config import AugmentConfig, MethodConfig, PreprocessConfig, SweepConfig, TrainConfig
from oodtune.data.cache import Cache, open_cache
from oodtune.data.index import IndexRow, Split, write_index
from oodtune.model.network import build_network
from oodtune.model.weights import save_weights
from oodtune.stages.train import Params as TrainParams
from oodtune.trial import NetworkSpec, Trial, TrialRecord, plan_trials

CLASSES = tuple(f"class{place}" for place in range(7))
DROPOUTS = {"plain": 0.0, "large_dropout": 0.9}
_NOISE = 0.01
_STEPS = 300
_SPLITS: tuple[Split, ...] = ("out", "in", "in", "in", "in")


def write_cache(path: Path, domains: Sequence[str], size: int, images_per_domain: int) -> Cache:
    """Write a `cache` of noise; one image in five is in the out-split."""
    rows = [
        IndexRow(f"{domain}/{CLASSES[i % len(CLASSES)]}/{i:05}.png", domain, CLASSES[i % len(CLASSES)], split)
        for domain in domains
        for i in range(images_per_domain)
        for split in [_SPLITS[i % len(_SPLITS)]]
    ]
    rows.sort()
    random = np.random.default_rng(0)
    with create_artifact(path, "cache") as writer:
        (writer.path / "images").mkdir()
        for domain in domains:
            images = random.integers(0, 256, (images_per_domain, size, size, 3), np.uint8)
            np.save(writer.path / "images" / f"{domain}.npy", images)
        write_index(rows, writer.path / "index.csv")
        preprocess = PreprocessConfig(size=size).model_dump(mode="json")
        writer.details.update(domains=list(domains), classes=list(CLASSES), origins=[], preprocess=preprocess)
    return open_cache(path)


def network_spec(backbone: str, size: int) -> NetworkSpec:
    return NetworkSpec(backbone=backbone, classes=CLASSES, preprocess=PreprocessConfig(size=size))


def write_trials(
    directory: Path, sweep: SweepConfig, spec: NetworkSpec, init_digests: Mapping[str, str] | None = None
) -> dict[Trial, Artifact]:
    """Write the `trial`s that a sweep plans: one network with random weights, each with noise of its own.

    `init_digests`: target domain -> digest of the initial state that its trials say they come from.
    """
    digests = init_digests or {}
    trials = plan_trials(sweep)
    states = _noisy_states(spec, len(trials))
    return {
        trial: _write_trial(directory / trial.name, trial, spec, state, digests.get(trial.target_domain, "0" * 64))
        for trial, state in zip(trials, states, strict=True)
    }


def _noisy_states(spec: NetworkSpec, count: int) -> Iterator[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    initial = build_network(spec).state_dict()
    for _ in range(count):
        yield {
            name: tensor + _NOISE * torch.randn_like(tensor)
            if tensor.is_floating_point() and "running" not in name
            else tensor
            for name, tensor in initial.items()
        }


def _write_trial(
    path: Path, trial: Trial, spec: NetworkSpec, state: Mapping[str, torch.Tensor], init_digest: str
) -> Artifact:
    method = MethodConfig(dropout=DROPOUTS[trial.method])
    params = TrainParams(augment=AugmentConfig(), train=TrainConfig(steps=_STEPS), method=method)
    with create_artifact(path, "trial", params) as writer:
        save_weights(state, writer.path / "weights.safetensors")
        lines = [{"step": step, "loss": 0.5, "source_accuracy": 0.5 + step / 1000} for step in range(0, _STEPS + 1, 30)]
        (writer.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        record = TrialRecord(trial=trial, network=spec, init_digest=init_digest, best_step=_STEPS, source_accuracy=0.8)
        writer.details.update(record.model_dump(mode="json"))
    return open_artifact(path, "trial")
