"""`cache` + `trial`s + `soup` -> `predictions`: the logits of every model, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from oodtune.artifact import create_artifact, open_artifact
from oodtune.combine.ensemble import logit_ensemble
from oodtune.config import StageParams, SweepConfig
from oodtune.data.cache import Cache, Examples, open_cache
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import Logits
from oodtune.evaluate.predictions import Model, Split, splits_to_score, write_examples, write_logits
from oodtune.model.device import choose_device
from oodtune.model.initial import load_network
from oodtune.progress import progress_bar
from oodtune.stages.trials import OpenTrial, open_planned_trials, trial_inputs
from oodtune.trial import NetworkSpec, Soup, SoupRecord

ENSEMBLE = "logit_ensemble"


class Params(StageParams):
    sweep: SweepConfig


@dataclass(frozen=True)
class Scored:
    """A model with the logits of every split it is scored on."""

    model: Model
    logits: dict[tuple[str, Split], Logits]

    def write(self, directory: Path) -> None:
        for (domain, split), logits in self.logits.items():
            write_logits(directory, self.model, domain, split, logits)


def run(
    cache: Path | str,
    trials: Sequence[Path | str],
    soups: Path | str,
    out: Path | str,
    params: Params,
    device: str = "auto",
) -> None:
    """Write a `predictions` artifact: every trial, soup and ensemble of every target domain."""
    opened = open_cache(Path(cache))
    by_target = open_planned_trials(trials, params.sweep)
    opened_soups = open_artifact(Path(soups), "soup")
    soup_record = SoupRecord.model_validate(opened_soups.details)
    everything = [trial for group in by_target.values() for trial in group]
    inputs = {"cache": opened.artifact, "soup": opened_soups, **trial_inputs(everything)}
    with create_artifact(Path(out), "predictions", params, inputs) as writer:
        _write_all_examples(opened, writer.path)
        models: list[Model] = []
        for target, group in by_target.items():
            scorer = Scorer(opened, target, choose_device(device))
            members = [scorer.score(_trial_model(one), one.record.network, one.weights_path) for one in group]
            averages = [
                scorer.score(_soup_model(soup), soup_record.network, opened_soups.path / soup.path)
                for soup in soup_record.soups
                if soup.target_domain == target
            ]
            for scored in (*members, *averages, _ensemble(target, members)):
                scored.write(writer.path)
                models.append(scored.model)
        writer.details.update(
            domains=list(opened.domains),
            classes=list(opened.classes),
            has_test=_has_test(opened),
            models=[model.model_dump(mode="json") for model in models],
        )


class Scorer:
    """Computes the logits of the models of one target domain."""

    def __init__(self, cache: Cache, target_domain: str, device: torch.device) -> None:
        self.device = device
        self.examples: dict[tuple[str, Split], Examples] = {
            (domain, split): cache.examples(domain, split)
            for domain, split in splits_to_score(cache.domains, target_domain, _has_test(cache))
        }

    def score(self, model: Model, spec: NetworkSpec, weights_path: Path) -> Scored:
        network = load_network(spec, weights_path).to(self.device)
        logits = {}
        for (domain, split), examples in self.examples.items():
            with progress_bar(f"{model.name} on {domain} ({split}-split)") as progress:
                logits[domain, split] = compute_logits(network, examples.images, self.device, progress)
        return Scored(model, logits)


def _trial_model(opened: OpenTrial) -> Model:
    trial = opened.record.trial
    return Model(target_domain=trial.target_domain, name=trial.name, kind="trial", row=trial.method, seed=trial.seed)


def _soup_model(soup: Soup) -> Model:
    return Model(target_domain=soup.target_domain, name=soup.name, kind="soup", row=soup.name, members=soup.ingredients)


def _ensemble(target_domain: str, members: Sequence[Scored]) -> Scored:
    names = tuple(member.model.name for member in members)
    model = Model(target_domain=target_domain, name=ENSEMBLE, kind="ensemble", row=ENSEMBLE, members=names)
    return Scored(model, {key: logit_ensemble([one.logits[key] for one in members]) for key in members[0].logits})


def _write_all_examples(cache: Cache, directory: Path) -> None:
    splits: tuple[Split, ...] = ("in", "out", "test") if _has_test(cache) else ("in", "out")
    for domain in cache.domains:
        for split in splits:
            examples = cache.examples(domain, split)
            write_examples(directory, domain, split, examples.ids, examples.labels)


def _has_test(cache: Cache) -> bool:
    return any(row.split == "test" for row in cache.rows)
