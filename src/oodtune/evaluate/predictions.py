"""Stored logits of every model, with the labels and ids they belong to."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from oodtune.artifact import Artifact, open_artifact
from oodtune.config import Section
from oodtune.evaluate.metrics import Labels, Logits

Split = Literal["in", "out", "test"]


class Model(Section):
    """One model that was evaluated: a candidate of selection, a point of the scatter."""

    target_domain: str
    name: str
    kind: Literal["trial", "soup", "ensemble"]
    row: str
    """Its line in the leave-one-domain-out table: the method of a trial, the rule of a soup or ensemble."""
    members: tuple[str, ...] = ()
    """Names of the trials in a soup or ensemble."""
    seed: int | None = None
    """Of a trial; None for what is made of several."""


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
        return [(domain, split) for domain in self.domains if domain != target_domain]

    def logits(self, model: Model, domain: str, split: Split) -> Logits:
        """Return logits (N, K), rows in the order of `ids`."""
        path = self.artifact.path / logits_file(model, domain, split)
        logits: Logits = np.load(path, allow_pickle=False)
        return logits

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
    held_out: tuple[Split, ...] = ("out", "test") if has_test else ("out",)
    sources = [(domain, split) for domain in domains if domain != target_domain for split in held_out]
    whole: tuple[Split, ...] = ("in", *held_out)
    return [*sources, *((target_domain, split) for split in whole)]


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
