"""What `oodtune data check` found, for the terminal."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from oodtune.data.check.report import CheckReport, Finding

SHOWN_ITEMS: Final = 3
MAX_CLASSES: Final = 12
"""With more classes, or more domains than MAX_DOMAINS, only the smallest and largest cells are shown."""
MAX_DOMAINS: Final = 8
SHOWN_DOMAINS: Final = 20
_COLOURS: Final = {"error": "bold red", "drop": "yellow", "keep": "dim"}


def render_text(report: "CheckReport") -> "RenderableType":
    """Return the findings, the class balance and, last, the verdict, for a rich console to print."""
    from rich.console import Group
    from rich.text import Text

    from oodtune.data.check.page import describe_verdict, sort_findings

    found = sort_findings(report.findings)
    verdict = Text(describe_verdict(report), style="bold red" if report.refusals else "bold green")
    parts: list[RenderableType] = [_findings_table(found)] if found else []
    if report.domains:
        small = len(report.classes) <= MAX_CLASSES and len(report.domains) <= MAX_DOMAINS
        parts.append(_balance_table(report) if small else _extremes_table(report))
    return Group(*parts, verdict)


def _findings_table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from oodtune.data.check.page import describe_count, describe_outcome

    table = Table(title="found", title_justify="left", expand=True)
    for column, ratio in (("what", 3), ("how many", None), ("policy", None), ("what became of it", 2), ("which", 4)):
        table.add_column(column, overflow="fold", ratio=ratio)
    for finding in findings:
        table.add_row(
            _plain(finding.title),
            describe_count(finding),
            Text(finding.policy, style=_COLOURS[finding.policy]),
            _plain(describe_outcome(finding)),
            _first_items(finding),
        )
    return table


def _first_items(finding: "Finding") -> "Text":
    from rich.text import Text

    lines = [_plain(item) for item in finding.items[:SHOWN_ITEMS]]
    rest = len(finding.items) - len(lines)
    return Text("\n").join([*lines, Text(f"and {rest:,} more", style="dim")] if rest else lines)


def _balance_table(report: "CheckReport") -> "Table":
    """Return class x domain: a terminal has more room below than beside."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="images by class and domain", title_justify="left", show_footer=True)
    table.add_column("class", footer="total", overflow="fold")
    for domain in report.domains:
        total = sum(report.counts[domain].values())
        table.add_column(_plain(domain), footer=f"{total:,}", justify="right", overflow="fold")
    for class_name in report.classes:
        counts = [report.counts[domain].get(class_name, 0) for domain in report.domains]
        cells = [Text(f"{count:,}") if count else Text("none", style="bold red") for count in counts]
        table.add_row(_plain(class_name), *cells)
    return table


def _extremes_table(report: "CheckReport") -> "Table":
    """Return the smallest and the largest class of each domain; a missing one is the smallest."""
    from rich.table import Table

    table = Table(title="images by domain", title_justify="left")
    for column in ("domain", "images", "classes", "smallest class", "largest class"):
        table.add_column(column, overflow="fold", justify="right" if column in ("images", "classes") else "left")
    for domain in report.domains[:SHOWN_DOMAINS]:
        counts = report.counts[domain]
        sizes = sorted((counts.get(class_name, 0), class_name) for class_name in report.classes)
        smallest, largest = (_plain(f"{name}: {count:,}") for count, name in (sizes[0], sizes[-1]))
        table.add_row(_plain(domain), f"{sum(counts.values()):,}", f"{len(counts):,}", smallest, largest)
    if len(report.domains) > SHOWN_DOMAINS:
        table.caption = f"and {len(report.domains) - SHOWN_DOMAINS:,} more domains"
    return table


def _plain(text: str) -> "Text":
    """Return text from outside: its brackets are no markup, and what would steer the terminal is a `?`."""
    from rich.text import Text

    return Text("".join(character if character.isprintable() else "?" for character in text))
