"""Subcommands about the project and the machine."""

from pathlib import Path
from typing import Annotated

import typer

from oodtune.cli.stages import DEFAULT_PARAMS, ParamsPath

PANEL = "Project and machine"


def add_commands(app: typer.Typer) -> None:
    for command in (doctor, plan, summary):
        app.command(rich_help_panel=PANEL)(command)


def doctor() -> None:
    """Say what is installed, which devices and providers really work, and what is wrong.

    Exits with 1 if something is wrong.
    """
    from rich.console import Console

    from oodtune.cli.doctor import examine, render

    findings = examine()
    Console().print(render(findings))
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


def plan(params: ParamsPath = DEFAULT_PARAMS) -> None:
    """Print the name of every trial of the sweep, one a line. Uses section `sweep`."""
    from oodtune.config import load_config
    from oodtune.trial import plan_trials

    for trial in plan_trials(load_config(params).sweep):
        print(trial.name)


def summary(
    report: Annotated[Path, typer.Argument(help="A `report` artifact, from `oodtune report`.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The `bundle` artifact that goes with it, for the next commands.")
    ] = None,
) -> None:
    """Print the leave-one-domain-out table, the chosen model, and what to do next."""
    from rich.console import Console

    from oodtune.stages.summary import summarise

    Console().print(summarise(report, bundle))
