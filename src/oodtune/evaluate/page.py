"""The report: one self-contained HTML page (no scripts, no request to anywhere, light and dark), Markdown, pictures."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from oodtune.evaluate.chart import Figure, lay_out
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.classes import ClassMap, Confusion
from oodtune.evaluate.cost import Cost, Total, energy_in_words, time_in_words
from oodtune.evaluate.differences import DifferenceTable, between, signed
from oodtune.evaluate.mistakes import Tile
from oodtune.evaluate.palette import INKS, KNOWN, UNSEEN, RowStyle
from oodtune.evaluate.results import Result
from oodtune.evaluate.table import BASELINE, MISSING, SELECTED, LodoTable, label, shown, spread
from oodtune.evaluate.uncertainty import Estimate

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent
LEGEND_WIDTH, LEGEND_HEIGHT = 204, 24
"""Of one entry, in a picture of its own."""


@dataclass(frozen=True)
class Origin:
    """One artifact that the numbers come from."""

    name: str
    kind: str
    digest: str
    """sha256 of its manifest, in hex."""


@dataclass(frozen=True)
class Page:
    """Everything the page shows."""

    title: str
    choice: Choice
    table: LodoTable
    differences: DifferenceTable | None
    styles: Mapping[str, RowStyle]
    figures: Mapping[str, Figure]
    """By name: scatter, reliability, risk and, where there is something to show, dropout, members, training."""
    winner: Result
    class_map: ClassMap
    confusion: Confusion
    tiles: Sequence[Tile]
    credits: Sequence[str]
    """Whose images the tiles are, a line each."""
    costs: Sequence[Cost]
    total: Total
    regret: Mapping[str, float]
    """Target domain -> the accuracy that the rule's pick lacks against the oracle's, 0..1; empty of the oracle."""
    member_stride: int
    """Every so many-th image was counted for the figure `members`."""
    settings: Mapping[str, Mapping[str, object]]
    """Section of `params.yaml` -> key -> value, of what all trials share."""
    origins: Sequence[Origin]
    missing: Sequence[str]
    """Trials of the sweep that were not there."""
    version: str

    @property
    def iid_split_in_words(self) -> str:
        return f"{self.table.iid_split}-splits of the source domains"

    @property
    def measures_energy(self) -> bool:
        return any(cost.joules is not None for cost in self.costs)

    @property
    def cost_note(self) -> str:
        """What the measured columns of the table of costs are."""
        energy = (
            " Energy is that of the GPUs alone or, on a CPU, of all its packages with whatever else ran there."
            if self.measures_energy
            else ""
        )
        return (
            "Time is the mean over the different trials in the row, images/s their images over their time, evaluations "
            f"included; trials that ran at once shared a machine.{energy}"
        )

    @property
    def regret_in_words(self) -> str:
        """What the rule's picks lose, by target domain, in a sentence or two."""
        lost = ", ".join(f"{100.0 * share:.1f} on {target}" for target, share in self.regret.items())
        return (
            f"Points of ood accuracy that the picks of the rule lack against the best model of all, which only a look "
            f"at the target domain could name: {lost}; mean {100.0 * fmean(self.regret.values()):.1f}."
        )


@dataclass(frozen=True)
class Whisker:
    """One difference as a dot with its interval, 0..100 along a bar."""

    dot: float
    low: float | None
    high: float | None
    zero: float


def render_page(page: Page) -> str:
    """Return the HTML. Whatever a name holds is escaped."""
    return _environment().get_template("page.html.j2").render(**_context(page))


def render_markdown(page: Page) -> str:
    """Return the same as Markdown; pictures are in `figures/` and `mistakes/` beside it."""
    return _environment().get_template("report.md.j2").render(**_context(page))


def render_figure(figure: Figure, styles: Mapping[str, RowStyle]) -> str:
    """Return a figure as an SVG file, for light and dark grounds."""
    places, width, height = lay_out(figure.charts)
    columns = max(1, width // LEGEND_WIDTH)
    entries = [
        (index % columns * LEGEND_WIDTH, height + 24 + index // columns * LEGEND_HEIGHT, entry)
        for index, entry in enumerate(figure.legend)
    ]
    bottom = max((y for _, y, _ in entries), default=height) + 16
    return (
        _environment()
        .get_template("figure.svg.j2")
        .render(
            figure=figure,
            panels=zip(places, figure.charts, strict=True),
            entries=entries,
            width=width,
            height=bottom,
            inks=INKS,
            styles=[*styles.values(), KNOWN, UNSEEN],
        )
    )


def whiskers(table: DifferenceTable) -> dict[str, Whisker]:
    """Return row -> where its difference lies on one scale for all; what reaches beyond is cut off there."""
    means = [row.ood.mean for row in table.rows]
    inner = [abs(one.mean) for row in table.rows for one in row.by_target.values()]
    reach = max(1.0, *(abs(mean) for mean in means), *inner)

    def at(points: float) -> float:
        return round(50.0 + 50.0 * min(1.0, max(-1.0, points / reach)), 1)

    found = {}
    for row in table.rows:
        interval = row.ood.interval
        low, high = (None, None) if interval is None else (at(interval.low), at(interval.high))
        found[row.name] = Whisker(at(row.ood.mean), low, high, zero=at(0.0))
    return found


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2", "svg.j2"], default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        label=label, percent=_percent, breakable=_breakable, signed=signed, shown=shown, spread=spread,
        between=between, data_uri=_data_uri, md=_escape_markdown, number=_number,
        time=time_in_words, energy=energy_in_words,
    )  # fmt: skip
    return environment


def _context(page: Page) -> dict[str, object]:
    baseline = page.table.row(BASELINE)
    cell = baseline.cells.get(page.choice.target_domain) if baseline and page.choice.winner.row != BASELINE else None
    return {
        "page": page,
        "choice": page.choice,
        "table": page.table,
        "differences": page.differences,
        "whiskers": whiskers(page.differences) if page.differences else {},
        "figures": page.figures,
        "columns": [*page.table.targets, None],
        "baseline": BASELINE,
        "selected": SELECTED,
        "missing": MISSING,
        "ood_gain": cell and _gain(page.choice.ood, cell.ood),
        "iid_gain": cell and _gain(page.choice.iid, cell.iid),
        "drawn": [*page.styles.values(), KNOWN, UNSEEN],
    }


def _gain(share: float, baseline: Estimate) -> str:
    """Return the points of accuracy from the baseline's mean to a share, and the number of its seeds."""
    seeds = "1 seed" if baseline.n == 1 else f"mean of {baseline.n} seeds"
    return f"{signed(100.0 * share - baseline.mean)} points against {label(BASELINE)} ({seeds})"


def _breakable(name: str) -> "Markup":
    """Return a name that may break after its underscores, where a column is narrow."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def _number(value: float) -> str:
    """Return a count, or a mean of counts, to three figures or as a whole number."""
    return (
        f"{value:.0f}"
        if value == int(value) and value < 10_000
        else f"{value:,.0f}"
        if value >= 100
        else f"{value:.3g}"
    )


def _escape_markdown(text: str) -> str:
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
