"""The report as one self-contained HTML page: no scripts, no request to anywhere, light and dark."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from oodtune.evaluate.curves import CurvePanel
from oodtune.evaluate.palette import RowStyle
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.table import BASELINE, MISSING, SELECTED, LodoTable, Statistic, label

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("page.html.j2")

RULES_IN_WORDS = {
    "source_out_split": "the highest mean accuracy on the out-splits of its source domains; "
    "the target domain was not looked at",
}


class Pick(BaseModel):
    """The model that the rule picked for one target domain."""

    model_config = ConfigDict(frozen=True)

    name: str
    row: str
    kind: str
    iid: float
    ood: float


class Choice(BaseModel):
    """`selection.json`: the model that ships, and why. Accuracies are shares, 0..1."""

    model_config = ConfigDict(frozen=True)

    target_domain: str
    rule: str
    winner: Model
    temperature: float
    iid: float
    ood: float
    picks: dict[str, Pick]
    reasons: tuple[str, ...]

    @property
    def rule_in_words(self) -> str:
        return RULES_IN_WORDS.get(self.rule, f"the rule {self.rule}")


@dataclass(frozen=True)
class DomainAccuracy:
    """Accuracy of the chosen model on one domain."""

    domain: str
    accuracy: float
    """A share, 0..1: on the split of a source domain that iid is measured on, on all images of the target domain."""
    num_images: int
    is_target: bool


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
    styles: Mapping[str, RowStyle]
    scatter_light: bytes
    """PNG; `scatter_dark` is the same picture for a dark ground."""
    scatter_dark: bytes
    curves: Sequence[CurvePanel]
    domains: Sequence[DomainAccuracy]
    settings: Mapping[str, Mapping[str, object]]
    """Section of `params.yaml` -> key -> value, of what all trials share."""
    origins: Sequence[Origin]
    version: str


def render_page(page: Page) -> str:
    """Return the HTML. Whatever a name holds is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(label=label, percent=_percent, data_uri=_data_uri, breakable=_breakable)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    baseline = page.table.row(BASELINE)
    cell = baseline.cells.get(page.choice.target_domain) if baseline and page.choice.winner.row != BASELINE else None
    return template.render(
        page=page,
        choice=page.choice,
        table=page.table,
        columns=[*page.table.targets, None],
        baseline=BASELINE,
        selected=SELECTED,
        missing=MISSING,
        ood_gain=cell and _gain(page.choice.ood, cell.ood),
        iid_gain=cell and _gain(page.choice.iid, cell.iid),
        row_index={row: index for index, row in enumerate(page.styles)},
        curve_rows=list(dict.fromkeys(line.row for panel in page.curves for line in panel.lines)),
    )


def _gain(share: float, baseline: Statistic) -> str:
    """Return the points of accuracy from the baseline's mean to a share, and the number of its seeds."""
    difference = f"{100.0 * share - baseline.mean:+.1f}".replace("-", "\N{MINUS SIGN}")
    seeds = "1 seed" if baseline.n == 1 else f"mean of {baseline.n} seeds"
    return f"{difference} points against {label(BASELINE)} ({seeds})"


def _breakable(name: str) -> "Markup":
    """Return a name that may break after its underscores, where a column is narrow."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
