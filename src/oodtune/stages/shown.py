"""A report, and what of it the page of a cluster's run shows by itself: the page, the table, numbers, confusions."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from oodtune.stages import report

Params = report.Params
LogMetric = Callable[[str, float], None]
LogConfusion = Callable[[list[str], list[list[int]]], None]


def run(
    cache: Path | str,
    trials: Sequence[Path | str],
    predictions: Path | str,
    selection: Path | str,
    out: Path | str,
    params: Params,
    page: Path | str,
    table: Path | str,
    metrics: LogMetric,
    confusion: LogConfusion,
) -> None:
    """Write a `report` artifact as `report.run` does; copy its page to `page` and its text to `table`.

    `metrics` is called with accuracies, shares 0..1: the chosen model's as `chosen_iid` and `chosen_ood`, and of each
    row of the table, `selected` too, the means over target domains. `confusion` with classes and counts (row: true;
    column: predicted) of the chosen model on the target domain, unless there are too many classes for a matrix.
    """
    report.run(cache, trials, predictions, selection, out, params)
    written = Path(out)
    for name, place in (("report.html", page), ("report.md", table)):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(written / name, place)
    numbers = json.loads((written / "metrics.json").read_text(encoding="utf-8"))
    for row, found in {"chosen": numbers["selected"], **numbers["lodo"]}.items():
        for name, value in found.items():
            metrics(f"{row}_{name}", value)
    found = json.loads((written / "summary.json").read_text(encoding="utf-8"))["confusion"]
    if found["classes"]:
        confusion(found["classes"], found["counts"])
