"""`cache` + `trial`s + `soup` -> `predictions`: the logits of every model, once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from oodtune.artifact import Artifact, create_artifact, open_artifact
from oodtune.combine.ensemble import logit_ensemble, probability_ensemble
from oodtune.config import CombineConfig, EnsembleRule, StageParams, SweepConfig
from oodtune.data.cache import Cache, Examples, open_cache
from oodtune.errors import ArtifactError
from oodtune.evaluate.metrics import Logits
from oodtune.evaluate.predictions import (
    Model,
    Split,
    read_logits,
    remove_logits,
    splits_of,
    splits_to_score,
    write_examples,
    write_logits,
)
from oodtune.progress import Progress, progress_bar
from oodtune.stages.known_logits import KnownLogits
from oodtune.stages.trials import WEIGHTS, OpenTrial, PlannedTrials, open_planned_trials, trial_inputs
from oodtune.trial import NetworkSpec, Soup, SoupRecord

if TYPE_CHECKING:
    import torch

_ENSEMBLES: dict[EnsembleRule, Callable[[Iterable[Logits]], Logits]] = {
    "logit": logit_ensemble,
    "probability": probability_ensemble,
}


class Params(StageParams):
    sweep: SweepConfig
    combine: CombineConfig


def run(
    cache: Path | str,
    trials: Sequence[Path | str],
    soups: Path | str,
    out: Path | str,
    params: Params,
    device: str = "auto",
) -> None:
    """Write a `predictions` artifact: every trial, soup and ensemble of every target domain.

    Logits that the artifact at `out` has of the same weights and the same cache are taken from there. Raises
    ArtifactError if a target domain has no trials, or if the soups are not of these.
    """
    from oodtune.model.device import choose_device

    opened = open_cache(Path(cache))
    planned = open_planned_trials(trials, params.sweep)
    opened_soups = open_artifact(Path(soups), "soup")
    record = SoupRecord.model_validate(opened_soups.details)
    _check_soups(opened_soups, record, planned)
    inputs = {"cache": opened.artifact, "soup": opened_soups, **trial_inputs(planned.all)}
    jobs = [*_trial_jobs(planned), *_soup_jobs(opened_soups, record)]
    with (
        create_artifact(Path(out), "predictions", params, inputs) as writer,
        progress_bar("Evaluate") as progress,
    ):
        _write_all_examples(opened, writer.path)
        evaluator = Evaluator(
            opened, KnownLogits(Path(out), opened.artifact.digest), writer.path, choose_device(device)
        )
        models: list[Model] = []
        for number, job in enumerate(jobs):
            evaluator.evaluate(job, _share_of(progress, number, len(jobs), job.name))
            if not job.is_state:
                models.append(job.model)
        for target, group in planned.by_target.items():
            models += evaluator.write_ensembles(target, group, params.combine)
        evaluator.forget_states()
        writer.details.update(
            domains=list(opened.domains),
            classes=list(opened.classes),
            has_test=_has_test(opened),
            models=[model.model_dump(mode="json") for model in _in_order(models, params.sweep)],
            missing=list(planned.missing),
        )


def _check_soups(soups: Artifact, record: SoupRecord, planned: PlannedTrials) -> None:
    for trial in planned.all:
        if soups.manifest.inputs.get(trial.name) != trial.artifact.digest:
            found = "not of it" if trial.name not in record.trials else "of another trial of that name"
            raise ArtifactError(
                f"{soups.path}: expected soups of the trial at {trial.artifact.path}, found some {found}; run "
                "`oodtune combine` again"
            )


@dataclass(frozen=True)
class Job:
    """One network whose logits are wanted."""

    model: Model
    spec: NetworkSpec
    weights_path: Path
    is_state: bool = False
    """Along a trajectory: it is a member of an ensemble, and no model by itself."""

    @property
    def name(self) -> str:
        return self.model.name


def _trial_jobs(planned: PlannedTrials) -> Iterator[Job]:
    for trial in planned.all:
        yield _trial_job(trial, trial.name, WEIGHTS)
        for name, file in trial.trajectory.items():
            yield _trial_job(trial, name, file, is_state=True)


def _trial_job(opened: OpenTrial, name: str, file: str, is_state: bool = False) -> Job:
    trial = opened.record.trial
    path = opened.artifact.path / file
    model = Model(
        target_domain=trial.target_domain,
        name=name,
        kind="trial",
        row=trial.method,
        seed=trial.seed,
        learning_rate=trial.learning_rate,
        weight_decay=trial.weight_decay,
        num_bytes=path.stat().st_size,
        weights=(opened.artifact.manifest.files[file],),
    )
    return Job(model, opened.record.network, path, is_state)


def _soup_jobs(opened: Artifact, record: SoupRecord) -> Iterator[Job]:
    for soup in record.soups:
        path = opened.path / soup.path
        yield Job(_soup_model(soup, path, opened.manifest.files[soup.path]), record.network, path)


def _soup_model(soup: Soup, path: Path, digest: str) -> Model:
    return Model(
        target_domain=soup.target_domain,
        name=soup.name,
        kind="soup",
        row=soup.row,
        members=soup.ingredients,
        seed=soup.trial.seed if soup.trial else None,
        learning_rate=soup.trial.learning_rate if soup.trial else None,
        weight_decay=soup.trial.weight_decay if soup.trial else None,
        num_bytes=path.stat().st_size,
        weights=(digest,),
    )


@dataclass
class Evaluator:
    """Writes the logits of models, one network in memory at a time."""

    cache: Cache
    known: KnownLogits
    directory: Path
    device: "torch.device"
    _models: dict[tuple[str, str], Model] = field(default_factory=dict)
    """By target domain and name: whose logits are written."""
    _states: list[Model] = field(default_factory=list)

    def evaluate(self, job: Job, progress: Progress) -> None:
        """Write the logits of one network on all images that it was not trained on."""
        splits = splits_to_score(self.cache.domains, job.model.target_domain, _has_test(self.cache))
        examples = {key: self.cache.examples(*key) for key in splits}
        self._models[job.model.target_domain, job.name] = job.model
        if job.is_state:
            self._states.append(job.model)
        if not self.known.copy(job.model, splits, self.directory):
            self._compute(job, examples, progress)

    def _compute(self, job: Job, examples: dict[tuple[str, Split], Examples], progress: Progress) -> None:
        from oodtune.evaluate.logits import compute_logits
        from oodtune.model.initial import load_network

        network = load_network(job.spec, job.weights_path).to(self.device)
        total, done = sum(len(one.labels) for one in examples.values()), 0
        for (domain, split), one in examples.items():
            logits = compute_logits(network, one.images, self.device)
            write_logits(self.directory, job.model, domain, split, logits)
            done += len(one.labels)
            progress(done, total, "")

    def write_ensembles(self, target: str, group: Sequence[OpenTrial], config: CombineConfig) -> list[Model]:
        """Write the logits of the ensembles of a target domain's trials; an ensemble of one is none."""
        by_method: dict[str, list[str]] = defaultdict(list)
        for trial in group:
            by_method[trial.record.trial.method].append(trial.name)
        models = []
        for rule in config.ensembles:
            every = [trial.name for trial in group]
            models.append(self._write_ensemble(rule, f"{rule}_ensemble", target, every))
            for method, names in by_method.items() if config.by_method and len(by_method) > 1 else ():
                models.append(self._write_ensemble(rule, _row(method, rule), target, names))
            for trial in group:
                row = _row(f"{trial.record.trial.method}_trajectory", rule)
                models.append(self._write_ensemble(rule, row, target, list(trial.trajectory), trial))
        return [model for model in models if model is not None]

    def _write_ensemble(
        self, rule: EnsembleRule, row: str, target: str, names: Sequence[str], trial: OpenTrial | None = None
    ) -> Model | None:
        if len(names) < 2:
            return None
        members = [self._models[target, name] for name in names]
        one = None if trial is None else trial.record.trial
        model = Model(
            target_domain=target,
            name=row if trial is None else f"{trial.name}-{row.removeprefix(trial.record.trial.method + '_')}",
            kind="ensemble",
            row=row,
            members=tuple(names),
            averages=rule,
            seed=one.seed if one else None,
            learning_rate=one.learning_rate if one else None,
            weight_decay=one.weight_decay if one else None,
            num_bytes=sum(member.num_bytes for member in members),
            weights=tuple(digest for member in members for digest in member.weights),
        )
        for domain, split in splits_to_score(self.cache.domains, target, _has_test(self.cache)):
            logits = (read_logits(self.directory, member, domain, split) for member in members)
            combined: Logits = _ENSEMBLES[rule](logits)
            write_logits(self.directory, model, domain, split, combined)
        return model

    def forget_states(self) -> None:
        """Remove the logits of states along trajectories: they are in their ensembles."""
        for model in self._states:
            remove_logits(self.directory, model)


def _row(method: str, rule: EnsembleRule) -> str:
    return f"{method}_ensemble" if rule == "logit" else f"{method}_{rule}_ensemble"


def _share_of(progress: Progress, number: int, total: int, name: str) -> Callable[[int, int, str], None]:
    """Return a Progress within item `number` of `total`: the bar counts models, and says how far this one is."""

    def report(done: int, of: int, what: str) -> None:
        progress(number + done // of, total, f"{name} {done}/{of} images")

    return report


def _in_order(models: Sequence[Model], sweep: SweepConfig) -> list[Model]:
    """Return models by target domain, in the sweep's order; trials, soups, ensembles."""
    kinds = ("trial", "soup", "ensemble")
    return sorted(models, key=lambda one: (sweep.target_domains.index(one.target_domain), kinds.index(one.kind)))


def _write_all_examples(cache: Cache, directory: Path) -> None:
    for domain in cache.domains:
        for split in splits_of(_has_test(cache)):
            examples = cache.examples(domain, split)
            write_examples(directory, domain, split, examples.ids, examples.labels)


def _has_test(cache: Cache) -> bool:
    return any(row.split == "test" for row in cache.rows)
