"""`oodtune corrupt`, and what it prints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodtune.cli.stages import CachePath, Device, OutPath, PredictionsPath, SelectionPath, SoupsPath, TrialPaths

if TYPE_CHECKING:
    from rich.console import RenderableType

PANEL = "After a sweep"


def add_commands(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(corrupt)


def corrupt(
    cache: CachePath,
    trials: TrialPaths,
    soups: SoupsPath,
    predictions: PredictionsPath,
    selection: SelectionPath,
    out: OutPath,
    corruption: Annotated[
        list[str] | None,
        typer.Option(help="One of ImageNet-C's; may be repeated. By default the 15 that its means are over."),
    ] = None,
    severity: Annotated[list[int] | None, typer.Option(help="1 to 5; may be repeated. By default all five.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="A model to compare with, by name; may be repeated. By default the best one of `select.baseline`."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what the corruptions draw: noise, angles, places.")] = 0,
    device: Device = "auto",
) -> None:
    """Measure how the selected model holds on corrupted images: `corruptions`.

    Noise, blur, weather and compression as in ImageNet-C, on the source domains' images that iid accuracy is
    measured on and on the whole target domain. Equal inputs give equal images, bit for bit. Needs
    `pip install 'oodtune[corruptions]'`.

    Every image is corrupted 75 times and goes through every network; `--severity 3` alone takes a fifth of the time.

    Limits: the severities were made for 224 pixels a side and are applied to the cache's images as they are, of which
    a blur of so many pixels takes more the smaller they are. Compare models with each other, not with figures of
    ImageNet-C.
    """
    from rich.console import Console

    from oodtune.stages import corrupt as stage

    params = stage.Params.of(corruption or [], severity or [], also or [], seed)
    stage.run(cache, trials, soups, predictions, selection, out, params, device)
    Console().print(render_text(out))


def render_text(out: Path) -> "RenderableType":
    """Return the table of the finished `corruptions` at `out`, and where the pictures are."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from oodtune.evaluate.corruption import MODELS, Corruptions, summary

    found = Corruptions.model_validate_json((out / "corruptions.json").read_bytes())
    title = Text(f"on {found.target_domain}, corrupted", "bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(MODELS):
        table.add_column(heading, justify="right" if place > 0 else "left", overflow="fold")
    for row in summary(found):
        table.add_row(*(Text(cell) for cell in row))
    more = Text(f"By corruption and severity: {out / 'table.md'}\nPicture: {out / 'corruptions.png'}")
    return Group(table, Text(found.caption, "dim"), Text(), more)
