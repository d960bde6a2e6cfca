"""Which classes of which domains the chosen model gets wrong, and what it takes them for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oodtune.evaluate.classification import confusion_matrix
from oodtune.evaluate.outcomes import Outcomes
from oodtune.evaluate.results import DomainMeasures, Result

MOST_SHOWN = 20
"""Classes: of more, the worst are shown first, and no confusion matrix."""
NUM_CONFUSIONS = 10


@dataclass(frozen=True)
class Recall:
    """Recall of one class on one domain."""

    share: float
    """0..1."""
    num_images: int
    gain: float | None = None
    """Points more than the mean over the baseline's networks; None if there is none to compare with."""


@dataclass(frozen=True)
class ClassRow:
    name: str
    cells: tuple[Recall | None, ...]
    """By domain; None where the domain has no image of the class."""


@dataclass(frozen=True)
class ClassMap:
    """Recall by class and domain of one model; the target domain is the last column."""

    domains: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    """By growing recall on the target domain; classes without images are absent."""
    worst_domain: str
    worst_domain_accuracy: float
    worst_class: str
    """On the target domain."""
    worst_recall: Recall
    compares: bool
    """Whether there is a baseline."""

    @property
    def first(self) -> tuple[ClassRow, ...]:
        return self.rows[:MOST_SHOWN]

    @property
    def rest(self) -> tuple[ClassRow, ...]:
        return self.rows[MOST_SHOWN:]


@dataclass(frozen=True)
class Mixup:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the images of the true class, 0..1."""


@dataclass(frozen=True)
class Confusion:
    """On the target domain."""

    classes: tuple[str, ...]
    """Those with images, or that were predicted; empty if there are too many for a matrix."""
    counts: tuple[tuple[int, ...], ...]
    """Row: true class; column: predicted."""
    mixups: tuple[Mixup, ...]
    """The most frequent ones."""


def class_map(chosen: Result, baseline: Sequence[Result], classes: Sequence[str]) -> ClassMap:
    """Return the map of `chosen`, compared with the mean over `baseline`, results of the same target domain."""
    domains = tuple(chosen.domains)
    assert domains[-1] == chosen.model.target_domain
    rows = []
    for place, name in enumerate(classes):
        cells = tuple(
            _recall(place, chosen.domains[domain], [one.domains[domain] for one in baseline]) for domain in domains
        )
        if any(cells):
            rows.append(ClassRow(name, cells))
    rows.sort(key=lambda row: _by_recall(row.cells[-1], row.name))
    worst = min(domains, key=lambda domain: chosen.domains[domain].accuracy)
    lowest = rows[0].cells[-1]
    assert lowest is not None, "a target domain has images"
    return ClassMap(
        domains, tuple(rows), worst, chosen.domains[worst].accuracy, rows[0].name, lowest, compares=bool(baseline)
    )


def _by_recall(recall: Recall | None, name: str) -> tuple[float, int, str]:
    """Order by recall; of equal ones, the one that more images speak for comes first."""
    return (2.0, 0, name) if recall is None else (recall.share, -recall.num_images, name)


def _recall(place: int, measures: DomainMeasures, baseline: Sequence[DomainMeasures]) -> Recall | None:
    num_images = int(measures.class_sizes[place])
    if num_images == 0:
        return None
    share = float(measures.recalls[place])
    gain = 100.0 * (share - float(np.mean([one.recalls[place] for one in baseline]))) if baseline else None
    return Recall(share, num_images, gain)


def confusion(outcomes: Outcomes, classes: Sequence[str]) -> Confusion:
    """Return what was taken for what."""
    counts = confusion_matrix(outcomes)
    sizes = counts.sum(1)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:NUM_CONFUSIONS]
    pairs = [(int(place) // len(classes), int(place) % len(classes)) for place in order]
    mixups = tuple(
        Mixup(
            classes[true], classes[predicted], int(wrong[true, predicted]), float(wrong[true, predicted] / sizes[true])
        )
        for true, predicted in pairs
        if wrong[true, predicted]
    )
    used = [place for place in range(len(classes)) if sizes[place] or counts[:, place].any()]
    if len(used) > MOST_SHOWN:
        return Confusion((), (), mixups)
    cells = tuple(tuple(int(counts[row, column]) for column in used) for row in used)
    return Confusion(tuple(classes[place] for place in used), cells, mixups)
