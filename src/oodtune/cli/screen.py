"""`oodtune screen`, and what it prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodtune.cli.stages import DEFAULT_PARAMS, CachePath, Device, OutPath, ParamsPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from oodtune.evaluate.screening import Screen

PANEL = "Before a sweep"


def add_commands(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(screen)


def screen(
    cache: CachePath,
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
    backbone: Annotated[
        list[str] | None,
        typer.Option(help="A timm model to rank; may be repeated. By default the one of section `backbone`."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="hub, bundled or a file; one for all backbones or one for each. By default as in `backbone`."
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Suggest a dropout rate and rank backbones without training: a `screen`. Uses `backbone`, `sweep`.

    Every image passes the frozen backbone once; then linear heads for all dropout rates follow at once, and each
    source domain is left out in turn to see which rate carries over. Good for choosing which rates and backbones
    to fine-tune, and for seeing whether dropout matters at all.

    Limits: it is exact for a head with squared loss on frozen features. Fine-tuning changes the features and
    uses cross-entropy, so the accuracies are no forecast, and the best rate there may differ. Needs three domains.
    """
    from rich.console import Console

    from oodtune.config import load_config
    from oodtune.stages import screen as stage

    config = load_config(params)
    chosen = stage.Params.from_config(config)
    backbones = stage.choose_backbones(config.backbone, backbone or [], weights or [])
    stage.run(cache, out, chosen.model_copy(update={"backbones": backbones}), device)
    Console().print(render_text(out))


def render_text(out: Path) -> "RenderableType":
    """Return the tables of the finished `screen` at `out`, the suggestion, and where the picture is."""
    from rich.console import Group
    from rich.text import Text

    from oodtune.evaluate.screening import CAPTION, RANKING, SUGGESTIONS, Screen, ranking, suggestions

    found = Screen.model_validate_json((out / "screen.json").read_bytes())
    parts: list[RenderableType] = []
    if len(found.backbones) > 1:
        parts += [_table("backbones, the best first", RANKING, ranking(found)), Text()]
    for one in found.backbones:
        parts += [_table(one.label, SUGGESTIONS, suggestions(one)), Text()]
    return Group(*parts, Text(CAPTION, "dim"), Text(), *_advice(found), Text(f"Picture: {out / 'screen.png'}"))


def _advice(found: "Screen") -> "list[RenderableType]":
    """Return the suggestion in a sentence, and the lines of the settings that follow it."""
    from rich.text import Text

    best = found.backbones[0]
    suggestion = best.curve.suggestion
    doubt = f" ({suggestion.verdict})" if suggestion.verdict else ""
    parts: list[RenderableType] = [Text(f"Suggested: dropout {suggestion.rate:g} on {best.label}{doubt}", "bold")]
    lines = []
    if len(found.backbones) > 1:
        lines += ["backbone:", f"  name: {best.name}", f"  weights: {best.weights}"]
    if suggestion.rate > 0.0:
        lines += ["methods:", "  large_dropout:", f"    dropout: {suggestion.rate:g}"]
    if lines:
        parts += [Text("In params.yaml:"), *(Text(f"  {line}") for line in lines)]
    return parts


def _table(title: str, headings: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place > 0 and heading else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
