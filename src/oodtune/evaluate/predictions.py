"""Stored logits of every model, with the labels and ids they belong to."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from oodtune.artifact import Artifact, open_artifact
from oodtune.config import Section, held_out_domains
from oodtune.evaluate.metrics import Labels, Logits

Split = Literal["in", "out", "test"]


class Model(Section):
    """One model that was evaluated: a candidate of selection, a point of the scatter."""

    target_domain: str
    """What it was not trained on: a domain, or two of them (`ink+oil`), which serves to choose and does not ship."""
    name: str
    """Unique among the models of its target domain."""
    kind: Literal["trial", "soup", "ensemble"]
    row: str
    """Its line in the leave-one-domain-out table: the method of a trial, the rule of a soup or ensemble."""
    members: tuple[str, ...] = ()
    """Names of the trials, or of the states of one trial (`<trial>@<step>`), in a soup or ensemble."""
    seed: int | None = None
    """Of a trial, and of what is made along its trajectory; None for what is made of several."""
    learning_rate: float | None = None
    """Like `seed`."""
    weight_decay: float | None = None
    """Like `seed`."""
    averages: Literal["", "logit", "probability"] = ""
    """What an ensemble is the mean of."""
    num_bytes: int = 0
    """Of all its weights on disk."""
    weights: tuple[str, ...] = ()
    """sha256 of each of its weights files."""

    @property
    def num_networks(self) -> int:
        """How many networks compute a prediction."""
        return len(self.members) if self.kind == "ensemble" else 1

    @property
    def recipe(self) -> str:
        """How it is made, whatever its target domain and seed: what a rule chooses among."""
        if self.learning_rate is None:
            return self.row
        return f"{self.row} lr{self.learning_rate!r} wd{self.weight_decay!r}"

    @property
    def is_validation(self) -> bool:
        """True if two domains were held out."""
        return len(held_out_domains(self.target_domain)) > 1


@dataclass(frozen=True)
class Predictions:
    """An open `predictions` artifact."""

    artifact: Artifact
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    models: tuple[Model, ...]
    has_test: bool = False
    """Whether the domains have test-splits."""

    def splits(self, target_domain: str) -> list[tuple[str, Split]]:
        """Return what the models of a target domain are scored on."""
        return splits_to_score(self.domains, target_domain, self.has_test)

    def iid_splits(self, target_domain: str, split: Split) -> list[tuple[str, Split]]:
        """Return one split of every source domain."""
        held_out = held_out_domains(target_domain)
        return [(domain, split) for domain in self.domains if domain not in held_out]

    def whole(self, domain: str) -> list[tuple[str, Split]]:
        """Return every split of a domain that was held out."""
        return [(domain, split) for split in splits_of(self.has_test)]

    def logits(self, model: Model, domain: str, split: Split) -> Logits:
        """Return logits (N, K), rows in the order of `ids`."""
        return read_logits(self.artifact.path, model, domain, split)

    def joined(self, model: Model, splits: Sequence[tuple[str, Split]]) -> tuple[Logits, Labels]:
        """Return the logits (N, K) and labels (N,) of several splits, one after the other."""
        logits = np.concatenate([self.logits(model, domain, split) for domain, split in splits])
        labels = np.concatenate([self.labels(domain, split) for domain, split in splits])
        return logits, labels

    def labels(self, domain: str, split: Split) -> Labels:
        """Return labels (N,): places in `classes`."""
        return np.asarray([int(row[1]) for row in self._examples(domain, split)], np.int64)

    def ids(self, domain: str, split: Split) -> tuple[str, ...]:
        return tuple(row[0] for row in self._examples(domain, split))

    def _examples(self, domain: str, split: Split) -> list[list[str]]:
        with (self.artifact.path / examples_file(domain, split)).open(encoding="utf-8", newline="") as stream:
            return list(csv.reader(stream))[1:]


def splits_to_score(domains: Sequence[str], target_domain: str, has_test: bool = False) -> list[tuple[str, Split]]:
    """Return the splits that no model of the target trained on: all but the in-splits of its source domains."""
    targets = held_out_domains(target_domain)
    sources = [(domain, split) for domain in domains if domain not in targets for split in splits_of(has_test)[1:]]
    return [*sources, *((domain, split) for domain in targets for split in splits_of(has_test))]


def splits_of(has_test: bool) -> tuple[Split, ...]:
    """Return the splits of every domain; the in-split first."""
    return ("in", "out", "test") if has_test else ("in", "out")


def open_predictions(path: Path) -> Predictions:
    """Open the `predictions` artifact at `path`. Raises ArtifactError if it is not one."""
    artifact = open_artifact(path, "predictions")
    return Predictions(
        artifact=artifact,
        domains=tuple(artifact.details["domains"]),
        classes=tuple(artifact.details["classes"]),
        models=tuple(Model.model_validate(model) for model in artifact.details["models"]),
        has_test=bool(artifact.details.get("has_test", False)),
    )


def write_logits(directory: Path, model: Model, domain: str, split: Split, logits: Logits) -> None:
    path = directory / logits_file(model, domain, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, logits, allow_pickle=False)


def read_logits(directory: Path, model: Model, domain: str, split: Split) -> Logits:
    logits: Logits = np.load(directory / logits_file(model, domain, split), allow_pickle=False)
    return logits


def remove_logits(directory: Path, model: Model) -> None:
    """Remove all that was written of a model."""
    shutil.rmtree((directory / logits_file(model, "", "in")).parent)


def write_examples(
    directory: Path, domain: str, split: Split, ids: Sequence[str], labels: npt.NDArray[np.int64]
) -> None:
    path = directory / examples_file(domain, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("id", "label"))
        writer.writerows(zip(ids, labels.tolist(), strict=True))


def logits_file(model: Model, domain: str, split: Split) -> str:
    return f"logits/{model.target_domain}/{model.name}/{domain}-{split}.npy"


def examples_file(domain: str, split: Split) -> str:
    return f"examples/{domain}-{split}.csv"
