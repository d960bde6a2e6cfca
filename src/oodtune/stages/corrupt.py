"""`selection` and what it chose from -> `corruptions`: how the chosen model holds when images are corrupted."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Self

import torch
from pydantic import Field, ValidationError, field_validator
from torch import nn

from oodtune.artifact import create_artifact, open_artifact, write_json
from oodtune.combine.ensemble import logit_ensemble, probability_ensemble
from oodtune.config import StageParams, describe_validation_error
from oodtune.data.cache import Cache, Examples, open_cache
from oodtune.data.corruptions import COMMON, EXTRA, SEVERITIES, Batch, corrupt_all, require_library, require_size
from oodtune.errors import ConfigError
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.corruption import Accuracies, CorruptedModel, Corruptions
from oodtune.evaluate.corruption_plot import draw_corruptions
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import Logits
from oodtune.evaluate.predictions import Model, Predictions, Split, open_predictions
from oodtune.evaluate.scores import Score, score_models
from oodtune.model.device import choose_device
from oodtune.model.initial import load_network
from oodtune.pixels import Pixels
from oodtune.progress import Progress, progress_bar
from oodtune.stages.model_weights import Source, check_made_from, find_weights

BATCH = 64
"""Images that are corrupted in one way at a time."""

Severity = Annotated[int, Field(ge=1, le=5)]
Place = tuple[str, Split]
"""A split of a domain."""


class Params(StageParams):
    corruptions: Annotated[tuple[str, ...], Field(min_length=1)] = COMMON
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = SEVERITIES
    seed: int = 0
    """Of what the corruptions draw at random."""
    also: tuple[str, ...] | None = None
    """Models to compare with the selected one, by name; null: the best one of the baseline's row, if there is one."""

    @field_validator("corruptions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = (*COMMON, *EXTRA)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"expected corruptions among {', '.join(known)}; found {', '.join(unknown)}")
        return tuple(name for name in known if name in names)

    @field_validator("severities")
    @classmethod
    def _ascending(cls, severities: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(severities)))

    @classmethod
    def of(cls, names: Sequence[str], severities: Sequence[int], also: Sequence[str], seed: int) -> Self:
        """Return the settings, where what is empty is as by default. Raises ConfigError if one is wrong."""
        given = {"corruptions": tuple(names), "severities": tuple(severities), "also": tuple(also)}
        try:
            return cls(seed=seed, **{name: value for name, value in given.items() if value})  # type: ignore[arg-type]
        except ValidationError as error:
            raise ConfigError(describe_validation_error(error)) from None


def run(
    cache: Path | str,
    trials: Sequence[Path | str],
    soups: Path | str,
    predictions: Path | str,
    selection: Path | str,
    out: Path | str,
    params: Params,
    device: str = "auto",
) -> None:
    """Write a `corruptions` artifact: numbers, tables and pictures of accuracy by corruption and severity.

    Of the images that the scores of the same models are of: the splits of source domains that iid accuracy is
    measured on, and the whole target domain. Memory: every network of the models, and two batches per CPU.
    Raises UserError without the package that corrupts, ConfigError of an unknown model, DataError of images that are
    too small, ArtifactError if the inputs do not belong together.
    """
    require_library()
    opened_cache = open_cache(Path(cache))
    require_size(opened_cache.preprocess.size)
    opened = open_predictions(Path(predictions))
    opened_selection = open_artifact(Path(selection), "selection")
    check_made_from(opened_selection, {"predictions": opened.artifact}, "oodtune select")
    choice = Choice.model_validate_json((opened_selection.path / "selection.json").read_bytes())
    scores = _choose_models(opened, choice, params.also)
    sources = {score.model: find_weights(score.model, trials, Path(soups)) for score in scores}
    evaluated = {"cache": opened_cache.artifact}
    for source in sources.values():
        evaluated |= source.inputs
    check_made_from(opened.artifact, evaluated, "oodtune evaluate")
    inputs = {**evaluated, "predictions": opened.artifact, "selection": opened_selection}
    with create_artifact(Path(out), "corruptions", params, inputs) as writer:
        counter = Counter(sources, choose_device(device))
        with progress_bar("Corrupt") as progress:
            counter.count(_read_places(opened_cache, opened, scores[0]), params, progress)
        found = _collect(counter, scores, choice, params, opened_cache)
        write_json(writer.path / "corruptions.json", found.model_dump(mode="json"))
        (writer.path / "corruptions.png").write_bytes(draw_corruptions(found))
        (writer.path / "corruptions-dark.png").write_bytes(draw_corruptions(found, "dark"))
        (writer.path / "table.md").write_text(found.to_markdown(), encoding="utf-8")
        writer.details.update(
            target_domain=choice.target_domain,
            means={one.name: one.mean.model_dump(mode="json") for one in found.models},
        )


def _choose_models(predictions: Predictions, choice: Choice, also: Sequence[str] | None) -> list[Score]:
    """Return the scores of the selected model and of those to compare it with, each once."""
    own = {model.name: model for model in predictions.models if model.target_domain == choice.target_domain}
    names = _best_of_baseline(predictions, own.values(), choice) if also is None else also
    for name in names:
        if name not in own:
            raise ConfigError(
                f"also: expected the name of a model evaluated for target domain {choice.target_domain}, found "
                f"{name!r}; there are {', '.join(own)}"
            )
    chosen = dict.fromkeys((choice.winner.name, *names))
    return score_models(replace(predictions, models=tuple(own[name] for name in chosen)))


def _best_of_baseline(predictions: Predictions, models: Iterable[Model], choice: Choice) -> list[str]:
    """Return the name of the model of the baseline's row with the highest accuracy on the source out-splits, if any."""
    baseline = choice.constraints.get("baseline", "plain")
    scores = score_models(replace(predictions, models=tuple(model for model in models if model.row == baseline)))
    return [score.model.name for score in sorted(scores, key=lambda score: -score.out_accuracy)[:1]]


def _read_places(cache: Cache, predictions: Predictions, score: Score) -> dict[Place, Examples]:
    """Return the images that iid and ood accuracy are measured on."""
    target = score.model.target_domain
    places = [*predictions.iid_splits(target, score.iid_split), *predictions.whole(target)]
    return {place: cache.examples(*place) for place in places}


@dataclass
class Counter:
    """Counts right answers of models, whose networks are loaded once, however many models they are in."""

    sources: Mapping[Model, Source]
    device: torch.device
    right: dict[tuple[str, str, int, str], int] = field(default_factory=lambda: defaultdict(int))
    """By model, corruption, severity and domain."""
    totals: dict[str, int] = field(default_factory=dict)
    """Images by domain."""

    def __post_init__(self) -> None:
        self._networks: dict[Path, nn.Module] = {}
        for source in self.sources.values():
            for path in source.weights:
                if path not in self._networks:
                    self._networks[path] = load_network(source.network, path).to(self.device)

    def count(self, places: Mapping[Place, Examples], params: Params, progress: Progress) -> None:
        """Count on all images of `places`, corrupted in every way."""
        for (domain, _), examples in places.items():
            self.totals[domain] = self.totals.get(domain, 0) + len(examples.ids)
        total = sum(self.totals.values()) * len(params.corruptions) * len(params.severities)
        slices = list(_slices(places, params))
        batches = (one.batch(places) for one in slices)
        done = 0
        with corrupt_all(batches, total, params.seed) as corrupted:
            for one, (batch, images) in zip(slices, corrupted, strict=True):
                labels = places[one.place].labels[one.rows]
                for name, logits in self._logits(images):
                    key = (name, batch.corruption, batch.severity, one.place[0])
                    self.right[key] += int((logits.argmax(1) == labels).sum())
                done += len(labels)
                progress(done, total, f"{batch.corruption} {batch.severity}")

    def _logits(self, images: Pixels) -> Iterator[tuple[str, Logits]]:
        """Yield every model's name and its logits (B, K)."""
        computed = {path: compute_logits(network, images, self.device) for path, network in self._networks.items()}
        for model, source in self.sources.items():
            average = probability_ensemble if model.averages == "probability" else logit_ensemble
            yield model.name, average(computed[path] for path in source.weights)

    def accuracy(self, model: str, corruption: str, severity: int, domain: str) -> float:
        return self.right[model, corruption, severity, domain] / self.totals[domain]


@dataclass(frozen=True)
class _Slice:
    """What a batch is read from when its turn comes."""

    place: Place
    rows: slice
    corruption: str
    severity: int

    def batch(self, places: Mapping[Place, Examples]) -> Batch:
        examples = places[self.place]
        return Batch(examples.images[self.rows], examples.ids[self.rows], self.corruption, self.severity)


def _slices(places: Mapping[Place, Examples], params: Params) -> Iterator[_Slice]:
    for corruption in params.corruptions:
        for severity in params.severities:
            for place, examples in places.items():
                for start in range(0, len(examples.ids), BATCH):
                    yield _Slice(place, slice(start, start + BATCH), corruption, severity)


def _collect(counter: Counter, scores: Sequence[Score], choice: Choice, params: Params, cache: Cache) -> Corruptions:
    target = choice.target_domain

    def measured(model: str, corruption: str, severity: int) -> Accuracies:
        by_domain = {domain: counter.accuracy(model, corruption, severity, domain) for domain in counter.totals}
        return Accuracies(
            iid=fmean(by_domain[domain] for domain in by_domain if domain != target), ood=by_domain[target]
        )

    models = tuple(
        CorruptedModel.of(
            score.model.name,
            score.model.row,
            score.model.kind,
            Accuracies(iid=score.iid, ood=score.ood),
            {
                name: tuple(measured(score.model.name, name, severity) for severity in params.severities)
                for name in params.corruptions
            },
        )
        for score in scores
    )
    return Corruptions(
        target_domain=target,
        rule=choice.rule,
        size=cache.preprocess.size,
        seed=params.seed,
        iid_split=scores[0].iid_split,
        num_images=counter.totals,
        severities=params.severities,
        models=models,
    )
