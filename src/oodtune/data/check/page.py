"""What the check found as one self-contained HTML page: no scripts, no request to anywhere, light and dark."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from PIL import Image

from oodtune import __version__
from oodtune.config import ChecksConfig
from oodtune.data.check.contact_sheet import Cell
from oodtune.data.check.report import CheckReport, Finding

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE: Final = Path(__file__).with_name("page.html.j2")
MAX_LISTED: Final = 200
"""Lines that one list on the page shows."""
LEAST_SPAN: Final = 4.0
"""The colours reach this many times the even share at least: balanced data look balanced."""


@dataclass(frozen=True)
class HeatCell:
    """One class of one domain."""

    count: int
    """Number of images; 0 is a cell that is missing."""
    heat: int
    """0..100 on a log scale of the share within the domain; 50: as many images as an even spread would have."""


@dataclass(frozen=True)
class HeatMap:
    """The counts of all cells with their totals."""

    classes_are_rows: bool
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    columns: tuple[str, ...]
    row_totals: dict[str, int]
    column_totals: dict[str, int]
    span: float
    """The deepest colour is this many times the even share, the palest one in so many."""


@dataclass(frozen=True)
class Sheet:
    """What is shown of one cell."""

    domain: str
    count: int
    uri: str
    """Data URI; empty if there is no picture."""
    width: int
    height: int


@dataclass(frozen=True)
class ClassSheets:
    """One class, its domains side by side."""

    name: str
    anchor: str
    sheets: tuple[Sheet, ...]


def render_page(report: CheckReport, sheets: Mapping[Cell, bytes], title: str) -> str:
    """Return the HTML. `sheets` holds an encoded picture a cell; whatever an id holds is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(breakable=_breakable, number=_number, outcome=describe_outcome, count=describe_count)
    environment.filters.update(pass_lines=lines_that_pass)
    classes = _arrange_sheets(report, sheets)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        title=title,
        verdict=describe_verdict(report),
        found=sort_findings(report.findings),
        absent=[finding for finding in report.findings if not finding.count],
        heat=build_heat_map(report) if report.domains else None,
        classes=classes,
        anchors={one.name: one.anchor for one in classes},
        sheet_width=max((sheet.width for one in classes for sheet in one.sheets), default=0),
        num_sheets=len(sheets),
        num_cells=sum(len(counts) for counts in report.counts.values()),
        max_listed=MAX_LISTED,
        version=__version__,
    )


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return what was found: refusals first, then what is dropped, then what is kept; the most numerous first."""
    severity = {"error": 0, "drop": 1, "keep": 2}
    found = [finding for finding in findings if finding.count]
    return sorted(found, key=lambda finding: (severity[finding.policy], -finding.count))


def describe_verdict(report: CheckReport) -> str:
    """Return whether the data can be used, and how many images that is, in one sentence."""
    looked_at = f"{_plural(report.num_images, 'images')} looked at"
    dropped = report.num_images - report.num_kept
    if report.refusals:
        reasons = _plural(len(report.refusals), "findings")
        return f"Refused because of {reasons}: {looked_at}, {report.num_kept:,} would be kept, {dropped:,} dropped."
    return f"Usable: {looked_at}, {report.num_kept:,} kept, {dropped:,} dropped."


def describe_count(finding: Finding) -> str:
    """Return how many were found, with their unit."""
    return _plural(finding.count, finding.unit)


def describe_outcome(finding: Finding) -> str:
    """Return what became of what was found."""
    parts = ["the data is refused"] if finding.refuses else []
    if finding.dropped:
        parts.append(f"{_plural(len(finding.dropped), 'images')} left out")
    if finding.consequence and finding.policy == "keep":
        parts.append(finding.consequence)
    return "; ".join(parts) or "kept as they are"


def lines_that_pass(finding: Finding) -> list[str]:
    """Return the lines of params.yaml that would let a refusal pass, the strictest first."""
    policies = get_args(ChecksConfig.model_fields[finding.kind].annotation)
    return [f"data: {{checks: {{{finding.kind}: {policy}}}}}" for policy in policies if policy != "error"]


def build_heat_map(report: CheckReport) -> HeatMap:
    """Return class x domain, or domain x class where there are more domains: a page scrolls down, not sideways.

    A colour is the share of a class within its domain against the even share, on a log scale.
    """
    classes, domains = report.classes, report.domains
    totals = {domain: sum(report.counts[domain].values()) for domain in domains}
    ratios = {
        (domain, class_name): count * len(classes) / totals[domain]
        for domain in domains
        for class_name, count in report.counts[domain].items()
        if count
    }
    span = max([LEAST_SPAN, *ratios.values(), *(1.0 / ratio for ratio in ratios.values())])

    def cell(domain: str, class_name: str) -> HeatCell:
        ratio = ratios.get((domain, class_name), 1.0)
        heat = round(50.0 + 50.0 * math.log(ratio) / math.log(span))
        return HeatCell(report.counts[domain].get(class_name, 0), heat)

    sums = {one: sum(report.counts[domain].get(one, 0) for domain in domains) for one in classes}
    if len(classes) >= len(domains):
        rows = tuple((one, tuple(cell(domain, one) for domain in domains)) for one in classes)
        return HeatMap(True, rows, domains, row_totals=sums, column_totals=totals, span=span)
    rows = tuple((domain, tuple(cell(domain, one) for one in classes)) for domain in domains)
    return HeatMap(False, rows, classes, row_totals=totals, column_totals=sums, span=span)


def _arrange_sheets(report: CheckReport, sheets: Mapping[Cell, bytes]) -> list[ClassSheets]:
    shown = {class_name for _, class_name in sheets}
    return [
        ClassSheets(class_name, f"class-{place}", tuple(_sheet(report, sheets, d, class_name) for d in report.domains))
        for place, class_name in enumerate(report.classes)
        if class_name in shown
    ]


def _sheet(report: CheckReport, sheets: Mapping[Cell, bytes], domain: str, class_name: str) -> Sheet:
    count = report.counts[domain].get(class_name, 0)
    picture = sheets.get((domain, class_name))
    if picture is None:
        return Sheet(domain, count, "", 0, 0)
    with Image.open(io.BytesIO(picture)) as image:
        width, height = image.size
        kind = Image.MIME[image.format or ""]
    return Sheet(domain, count, f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}", width, height)


def _plural(count: int, unit: str) -> str:
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"


def _number(value: int) -> str:
    return f"{value:,}"


def _breakable(name: str) -> "Markup":
    """Return a name that may break after its underscores, where a column is narrow."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))
