"""The leave-one-domain-out table: every row is a way to train, every column a domain it never saw."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from oodtune.config import Section
from oodtune.evaluate.scores import Score
from oodtune.evaluate.uncertainty import Estimate, estimate

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
_OOD = "ood: all images of the target domain, which no training or choice has seen. "
_OOD_OF_A_CEILING = (
    "ood: all images of the target domain, which no training has seen; the row “selected” was chosen on them, so it is "
    "a ceiling. "
)
_CAPTION = (
    "n: seeds; a cell is their mean, "
    "± one sample standard error where n > 1 (settings of one seed are averaged first). mean: over all "
    "target domains, absent if one is missing. * marks the best ood of a column."
)


Kind = Literal["trial", "soup", "ensemble", "selected"]
GROUPS: dict[Kind, str] = {
    "trial": "Single networks",
    "soup": "Averaged weights, one network",
    "ensemble": "Ensembles, several networks",
    "selected": "What the rule chose",
}
"""Kind -> heading of its rows, in this order."""

BySeed = Mapping[int | None, float]
"""Accuracy in percent by seed; the seed of what is made of several trials is None."""


class Cell(Section):
    iid: Estimate
    ood: Estimate


class Row(Section):
    name: str
    kind: Kind = "trial"
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
    is_ceiling: bool = False
    """Whether the row “selected” was chosen on the target domain."""

    @property
    def caption(self) -> str:
        """What the numbers are, and how they came about."""
        return _IID[self.iid_split] + (_OOD_OF_A_CEILING if self.is_ceiling else _OOD) + _CAPTION

    @property
    def groups(self) -> dict[str, list[Row]]:
        """Heading -> rows, for the kinds that there are."""
        found = {title: [row for row in self.rows if row.kind == kind] for kind, title in GROUPS.items()}
        return {title: rows for title, rows in found.items() if rows}

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def best(self, target: str | None) -> set[str]:
        """Return the rows with the highest ood, as printed, for one target or (None) the mean."""
        texts = {row.name: shown(cell.ood) for row in self.rows if (cell := _cell(row, target)) is not None}
        highest = max(texts.values(), key=float, default=None)
        return {name for name, text in texts.items() if text == highest}

    def to_markdown(self) -> str:
        """Return a Markdown table with its caption. The best ood of a column is bold and starred."""
        lines = [
            "| | " + " | ".join(self._headings()) + " |",
            "|---|" + "---:|" * (len(self.targets) + 2),
        ]
        for title, rows in self.groups.items():
            if len(self.groups) > 1:
                lines.append(f"| **{title}** |" + " |" * (len(self.targets) + 2))
            for row in rows:
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


def lodo_table(scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]], is_ceiling: bool = False) -> LodoTable:
    """Return the table of `scores`, with the row of `picks`: target domain -> {"name", "iid", "ood", ...}.

    Rows keep the order of `scores`, what is made of several trials after the trials. Accuracies come as
    shares, 0..1, and leave in percent.
    """
    targets = tuple(dict.fromkeys(score.model.target_domain for score in scores))
    assert picks.keys() <= set(targets), "a model was picked for a domain that was not scored"
    by_row: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    kinds: dict[str, Kind] = {score.model.row: score.model.kind for score in scores}
    for score in sorted(scores, key=lambda score: list(GROUPS).index(score.model.kind)):
        by_row[score.model.row][score.model.target_domain].append(score)
    rows = []
    for name, columns in by_row.items():
        iid = {target: by_seed((one.model.seed, one.iid) for one in column) for target, column in columns.items()}
        ood = {target: by_seed((one.model.seed, one.ood) for one in column) for target, column in columns.items()}
        rows.append(_row(name, kinds[name], iid, ood, len(targets)))
    if picks:
        iid = {target: by_seed([(None, pick["iid"])]) for target, pick in picks.items()}
        ood = {target: by_seed([(None, pick["ood"])]) for target, pick in picks.items()}
        rows.append(_row(SELECTED, "selected", iid, ood, len(targets)))
    return LodoTable(targets=targets, rows=tuple(rows), iid_split=scores[0].iid_split, is_ceiling=is_ceiling)


def shown(value: Estimate) -> str:
    return f"{value.mean:.1f}"


def spread(value: Estimate) -> str:
    """Return the standard error as the table shows it; nothing for a single value."""
    return "" if value.standard_error is None else f"±{value.standard_error:.1f}"


def label(row: str) -> str:
    """Return a row's name as people read it."""
    return row.replace("_", " ")


def _row(name: str, kind: Kind, iid: Mapping[str, BySeed], ood: Mapping[str, BySeed], num_targets: int) -> Row:
    cells = {target: Cell(iid=_of_seeds(iid[target]), ood=_of_seeds(ood[target])) for target in ood}
    whole = len(cells) == num_targets
    mean = Cell(iid=_mean_over(iid.values()), ood=_mean_over(ood.values())) if whole else None
    return Row(name=name, kind=kind, cells=cells, mean=mean)


def by_seed(values: Iterable[tuple[int | None, float]]) -> BySeed:
    """Return seed -> mean over that seed's settings, in percent: only seeds are independent repeats."""
    groups: dict[int | None, list[float]] = defaultdict(list)
    for seed, value in values:
        groups[seed].append(100.0 * value)
    return {seed: fmean(group) for seed, group in groups.items()}


def _of_seeds(by_seed: BySeed) -> Estimate:
    return estimate(list(by_seed.values()))


def _mean_over(targets: Iterable[BySeed]) -> Estimate:
    """Return the mean over targets, with the spread of the seeds' means if all targets share the seeds."""
    columns = list(targets)
    if all(column.keys() == columns[0].keys() for column in columns):
        return estimate([fmean(column[seed] for column in columns) for seed in columns[0]])
    return Estimate(mean=fmean(fmean(column.values()) for column in columns), n=min(map(len, columns)))


def _cell(row: Row, target: str | None) -> Cell | None:
    return row.mean if target is None else row.cells.get(target)


def _markdown_cell(cell: Cell | None, best: bool) -> str:
    if cell is None:
        return MISSING
    iid, ood = (" ".join(filter(None, (shown(part), spread(part)))) for part in (cell.iid, cell.ood))
    return f"{iid} / **{ood}**\\*" if best else f"{iid} / {ood}"


def _terminal_cell(cell: Cell | None, best: bool) -> list[tuple[str, str]]:
    if cell is None:
        return [(MISSING, "dim")]
    ood = (f"{shown(cell.ood)}*", "bold") if best else (f"{shown(cell.ood)} ", "")
    parts = [(f"{shown(cell.iid)}/", ""), ood]
    if spread(cell.ood):
        parts.append((f"\n{spread(cell.iid)}/{spread(cell.ood)} ", "dim"))
    return parts
