"""The tables of a report that programs read.

`metrics.json`, `metrics.csv`, `points.csv`, `curves.csv` follow from the inputs; `costs.csv` was measured.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oodtune.evaluate.choice import Choice
from oodtune.evaluate.results import Result
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import SELECTED, LodoTable
from oodtune.stages.report_inputs import Snapshot, chosen_weights
from oodtune.stages.trial_cost import TrialCost
from oodtune.stages.trials import OpenTrial

_MODEL = ("target_domain", "row", "kind", "model", "seed", "temperature")
_DOMAIN = ("domain", "split", "images")
_METRICS = (
    "accuracy",
    "top5_accuracy",
    "macro_accuracy",
    "worst_class",
    "worst_class_recall",
    "nll_raw",
    "nll",
    "brier_raw",
    "brier",
    "ece_raw",
    "ece",
    "auroc",
    "aurc",
    "accuracy_at_80",
    "accuracy_at_90",
)
"""`_raw`: before the temperature; the rest of the probabilities after."""


def summarise_metrics(table: LodoTable, choice: Choice) -> dict[str, Any]:
    """Return shares, 0..1, for `dvc metrics show`: the chosen model; each row's mean over target domains."""
    means = {row.name: row.mean for row in table.rows if row.mean is not None}
    return {
        SELECTED: {"iid": round(choice.iid, 6), "ood": round(choice.ood, 6)},
        "lodo": {
            name: {"iid": round(mean.iid.mean / 100.0, 6), "ood": round(mean.ood.mean / 100.0, 6)}
            for name, mean in means.items()
        },
    }


def write_metrics(path: Path, results: Iterable[Result], classes: Sequence[str]) -> None:
    """Write a row a model and domain. What is not defined is empty."""
    _write_csv(path, (*_MODEL, *_DOMAIN, *_METRICS), _metric_rows(results, classes))


def _metric_rows(results: Iterable[Result], classes: Sequence[str]) -> Iterator[Sequence[object]]:
    for result in results:
        model = result.model
        about = (model.target_domain, model.row, model.kind, model.name, model.seed, round(result.temperature, 6))
        for domain, found in result.domains.items():
            values = {name: getattr(found, name) for name in _METRICS}
            values["worst_class"] = classes[found.worst_class]
            cells = [round(value, 6) if isinstance(value, float) else value for value in values.values()]
            yield (*about, domain, found.split, found.num_images, *cells)


def write_points(path: Path, scores: Sequence[Score]) -> None:
    rows = (
        (
            score.model.target_domain,
            score.model.row,
            score.model.name,
            round(score.iid, 6),
            round(score.ood, 6),
        )
        for score in scores
    )
    _write_csv(path, ("target_domain", "row", "model", "iid", "ood"), rows)


def write_curves(path: Path, trials: Sequence[OpenTrial], logs: Mapping[str, Sequence[Snapshot]]) -> None:
    """Write a row a snapshot: the curves that `dvc plots` draws, a panel per target domain, a line per trial."""
    header = ("trial", "target_domain", "method", "step", "loss", "source_accuracy")
    rows = []
    for trial in trials:
        planned = trial.record.trial
        for line in logs[planned.name]:
            loss, accuracy = _rounded(line["loss"]), _rounded(chosen_weights(line)["source_accuracy"])
            rows.append((planned.name, planned.target_domain, planned.method, line["step"], loss, accuracy))
    _write_csv(path, header, rows)


def write_costs(path: Path, trials: Sequence[OpenTrial], costs: Mapping[str, TrialCost]) -> None:
    """Write a row a trial that recorded what it took; energy is empty where the machine did not tell."""
    header = ("trial", "target_domain", "method", "devices", "seconds", "images", "images_per_s", "joules")
    rows = []
    for planned in (trial.record.trial for trial in trials if trial.name in costs):
        cost = costs[planned.name]
        took = (round(cost.seconds, 3), cost.num_images, round(cost.images_per_s, 3), cost.joules)
        rows.append((planned.name, planned.target_domain, planned.method, cost.devices, *took))
    _write_csv(path, header, rows)


def _rounded(value: float | None) -> float:
    """Return NaN for what was not measured: in the pictures of `dvc plots`, an empty cell is a zero."""
    return math.nan if value is None else round(value, 6)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
