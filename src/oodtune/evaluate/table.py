"""The leave-one-domain-out table: every row is a way to train, every column a domain it never saw."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from oodtune.config import Section
from oodtune.evaluate.scores import Score

if TYPE_CHECKING:
    from rich.table import Table

SELECTED = "selected"
"""The row of the models that the rule picked, one per target domain."""
BASELINE = "plain"
"""The row that others are compared with, if it is there."""
MISSING = "–"  # noqa: RUF001 (an en dash is what a table shows for nothing)

_IID = {
    "out": "iid: mean over the source domains of the accuracy on their out-splits: never "
    "trained on, but they choose each trial's snapshot (the highest such mean) and the row “selected” "
    "(likewise), so iid is slightly optimistic. ",
    "test": "iid: mean over the source domains of the accuracy on their test-splits, which no training or choice has "
    "seen; the out-splits choose each trial's snapshot and the row “selected”. ",
}
_CAPTION = (
    "ood: all images of the target domain, which no training or choice has seen. n: seeds; a cell is their mean, "
    "± one sample standard error where n > 1 (settings of one seed are averaged first). mean: over all "
    "target domains, absent if one is missing. * marks the best ood of a column."
)


BySeed = Mapping[int | None, float]
"""Accuracy in percent by seed; the seed of what is made of several trials is None."""


class Statistic(Section):
    """A mean in percent, with its spread where there is one."""

    mean: float
    standard_error: float | None = None
    """Sample standard error over the seeds, in points; None for a single seed."""
    n: int = 1
    """Number of seeds; what is made of several trials (a soup) counts as one."""

    @property
    def shown(self) -> str:
        return f"{self.mean:.1f}"

    @property
    def spread(self) -> str:
        return "" if self.standard_error is None else f"±{self.standard_error:.1f}"


class Cell(Section):
    iid: Statistic
    ood: Statistic


class Row(Section):
    name: str
    cells: dict[str, Cell]
    """By target domain. A domain that was not scored is missing."""
    mean: Cell | None
    """Over every target domain of the table; None if one is missing."""

    @property
    def label(self) -> str:
        return label(self.name)

    @property
    def seeds(self) -> str:
        """The number of seeds behind a cell; a range if cells differ."""
        counts = sorted({cell.ood.n for cell in self.cells.values()})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


class LodoTable(Section):
    """Leave-one-domain-out results, ready to print."""

    targets: tuple[str, ...]
    rows: tuple[Row, ...]
    iid_split: Literal["out", "test"] = "out"
    """Which splits of the source domains iid was measured on."""

    @property
    def caption(self) -> str:
        """What the numbers are, and how they came about."""
        return _IID[self.iid_split] + _CAPTION

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def best(self, target: str | None) -> set[str]:
        """Return the rows with the highest ood, as printed, for one target or (None) the mean."""
        shown = {row.name: cell.ood.shown for row in self.rows if (cell := _cell(row, target)) is not None}
        highest = max(shown.values(), key=float, default=None)
        return {name for name, text in shown.items() if text == highest}

    def to_markdown(self) -> str:
        """Return a Markdown table with its caption. The best ood of a column is bold and starred."""
        lines = [
            "| | " + " | ".join(self._headings()) + " |",
            "|---|" + "---:|" * (len(self.targets) + 2),
        ]
        for row in self.rows:
            cells = [_markdown_cell(cell, best) for cell, best in self._cells(row)]
            lines.append("| " + " | ".join([row.label, *cells, row.seeds]) + " |")
        return "\n".join([*lines, "", "Accuracy in %, iid / ood. " + self.caption.replace("*", "\\*")]) + "\n"

    def to_rich(self) -> "Table":
        """Return a table for the terminal. The best ood of a column is bold and starred."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for heading in ("", *self._headings()):
            table.add_column(Text(heading), justify="right" if heading else "left")
        for row in self.rows:
            cells = [Text.assemble(*_terminal_cell(cell, best)) for cell, best in self._cells(row)]
            table.add_row(Text(row.label, "bold" if row.name == SELECTED else ""), *cells, Text(row.seeds))
        return table

    def _headings(self) -> list[str]:
        return [*self.targets, "mean", "n"]

    def _cells(self, row: Row) -> list[tuple[Cell | None, bool]]:
        """Return the cells of a row, the mean last, each with whether it is the best of its column."""
        return [(_cell(row, target), row.name in self.best(target)) for target in (*self.targets, None)]


def lodo_table(scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]]) -> LodoTable:
    """Return the table of `scores`, with the row of `picks`: target domain -> {"name", "iid", "ood", ...}.

    Rows keep the order of `scores`, what is made of several trials after the trials. Accuracies come as
    shares, 0..1, and leave in percent.
    """
    targets = tuple(dict.fromkeys(score.model.target_domain for score in scores))
    assert picks.keys() <= set(targets), "a model was picked for a domain that was not scored"
    by_row: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for score in sorted(scores, key=lambda score: score.model.kind != "trial"):
        by_row[score.model.row][score.model.target_domain].append(score)
    rows = []
    for name, columns in by_row.items():
        iid = {target: _by_seed((one.model.seed, one.iid) for one in column) for target, column in columns.items()}
        ood = {target: _by_seed((one.model.seed, one.ood) for one in column) for target, column in columns.items()}
        rows.append(_row(name, iid, ood, len(targets)))
    if picks:
        iid = {target: _by_seed([(None, pick["iid"])]) for target, pick in picks.items()}
        ood = {target: _by_seed([(None, pick["ood"])]) for target, pick in picks.items()}
        rows.append(_row(SELECTED, iid, ood, len(targets)))
    return LodoTable(targets=targets, rows=tuple(rows), iid_split=scores[0].iid_split)


def label(row: str) -> str:
    """Return a row's name as people read it."""
    return row.replace("_", " ")


def _row(name: str, iid: Mapping[str, BySeed], ood: Mapping[str, BySeed], num_targets: int) -> Row:
    cells = {target: Cell(iid=_statistic(iid[target]), ood=_statistic(ood[target])) for target in ood}
    whole = len(cells) == num_targets
    mean = Cell(iid=_mean_over(iid.values()), ood=_mean_over(ood.values())) if whole else None
    return Row(name=name, cells=cells, mean=mean)


def _by_seed(values: Iterable[tuple[int | None, float]]) -> BySeed:
    """Return seed -> mean over that seed's settings, in percent: only seeds are independent repeats."""
    groups: dict[int | None, list[float]] = defaultdict(list)
    for seed, value in values:
        groups[seed].append(100.0 * value)
    return {seed: fmean(group) for seed, group in groups.items()}


def _statistic(by_seed: BySeed) -> Statistic:
    values = list(by_seed.values())
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return Statistic(mean=fmean(values), standard_error=error, n=len(values))


def _mean_over(targets: Iterable[BySeed]) -> Statistic:
    """Return the mean over targets, with the spread of the seeds' means if all targets share the seeds."""
    columns = list(targets)
    if all(column.keys() == columns[0].keys() for column in columns):
        return _statistic({seed: fmean(column[seed] for column in columns) for seed in columns[0]})
    return Statistic(mean=fmean(fmean(column.values()) for column in columns), n=min(map(len, columns)))


def _cell(row: Row, target: str | None) -> Cell | None:
    return row.mean if target is None else row.cells.get(target)


def _markdown_cell(cell: Cell | None, best: bool) -> str:
    if cell is None:
        return MISSING
    iid, ood = (" ".join(filter(None, (part.shown, part.spread))) for part in (cell.iid, cell.ood))
    return f"{iid} / **{ood}**\\*" if best else f"{iid} / {ood}"


def _terminal_cell(cell: Cell | None, best: bool) -> list[tuple[str, str]]:
    if cell is None:
        return [(MISSING, "dim")]
    ood = (f"{cell.ood.shown}*", "bold") if best else (f"{cell.ood.shown} ", "")
    parts = [(f"{cell.iid.shown}/", ""), ood]
    if cell.ood.spread:
        parts.append((f"\n{cell.iid.spread}/{cell.ood.spread} ", "dim"))
    return parts
