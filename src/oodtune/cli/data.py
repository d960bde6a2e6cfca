"""Subcommands about images, before anything is made of them."""

from pathlib import Path
from typing import Annotated

import typer

from oodtune.cli.stages import DEFAULT_PARAMS, ParamsPath

app = typer.Typer(help="Look at images before training does.", no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _group() -> None:
    """Look at images before training does."""


@app.command()
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Images laid out as DOMAIN/CLASS/IMAGE; without it, the source in the settings."),
    ] = None,
    params: ParamsPath = DEFAULT_PARAMS,
    out: Annotated[Path, typer.Option(help="Where check.html and check.json go.")] = Path(".oodtune/check"),
    downloads_dir: Annotated[Path, typer.Option(help="Where fetched archives are kept.")] = Path(".oodtune/downloads"),
) -> None:
    """Decode every image and say what is wrong: classes, copies, labels, formats. Uses section `data`.

    `oodtune prepare` does the same before it writes a dataset. What becomes of each finding (`error`, `drop` or
    `keep`) is set in `data.checks`; exits with 2 if one refuses the images.
    """
    from rich.console import Console

    from oodtune.cli.check_text import render_text
    from oodtune.config import ChecksConfig, DataConfig, load_config
    from oodtune.data.check.examine import refuse
    from oodtune.stages import check as stage

    if folder is None:
        config = load_config(params).data
    else:
        checks = load_config(params).data.checks if params.exists() else ChecksConfig()
        config = DataConfig(source="folder", root=folder, checks=checks)
    verdict = stage.run(out, config, downloads_dir)
    Console().print(render_text(verdict.report))
    print(f"{out / stage.PAGE} shows the images")
    refuse(verdict.report, f"{out / stage.PAGE} shows all of them")
