"""A finished `report`, and what to do next, for the terminal."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from oodtune.artifact import open_artifact
from oodtune.bundle import model_path
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.table import LodoTable, label

if TYPE_CHECKING:
    from rich.console import RenderableType


class Summary(BaseModel):
    """`summary.json` of a report."""

    model_config = ConfigDict(frozen=True)

    title: str
    choice: Choice
    table: LodoTable


def summarise(report: Path | str, bundle: Path | str | None = None) -> "RenderableType":
    """Return the leave-one-domain-out table, the chosen model, where everything is, and the next commands.

    Raises ArtifactError if `report` is no report, or `bundle` (if given) no bundle.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    artifact = open_artifact(Path(report), "report")
    found = Summary.model_validate_json((artifact.path / "summary.json").read_bytes())
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("Chosen", Text(_describe(found.choice)))
    facts.add_row("", Text(found.choice.winner.name, "dim"))
    for number, reason in enumerate(found.choice.reasons):
        facts.add_row("" if number else "Why", reason)
    facts.add_row("Report", str(artifact.path / "report.html"))
    facts.add_row("Picture", str(artifact.path / "figures" / "scatter.svg"))
    parts: list[RenderableType] = [
        Text(f"{found.title}: accuracy on domains left out, %: iid/ood", "bold"),
        Padding(found.table.to_rich(), (1, 0)),
        Text(found.table.caption, "dim"),
        Text(""),
        facts,
    ]
    if bundle is not None:
        opened = open_artifact(Path(bundle), "bundle", verify=False)
        facts.add_row("Bundle", str(opened.path / model_path()))
        place = shlex.quote(str(opened.path))
        commands = (f"oodtune predict {place} image.png", f"oodtune serve {place}")
        parts += [Text("\nNext", "bold"), *(Text(f"  {command}") for command in commands)]
    return Group(*parts)


def _describe(choice: Choice) -> str:
    return (
        f"{label(choice.winner.row)} without {choice.target_domain}: ood {100.0 * choice.ood:.1f} %, "
        f"iid {100.0 * choice.iid:.1f} %; chosen for {choice.rule_in_words}"
    )
