"""The command line. Known errors become one line and exit code 2."""

import sys
import warnings

import typer

from oodtune import __version__
from oodtune.cli import bundle, corrupt, data, pipeline, project, registry, screen, stages, sweep

app = typer.Typer(
    name="oodtune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Fine-tune image classifiers that keep working where their training data did not come from.\n\n"
        "A stage reads artifacts and writes one; `dvc repro` runs them all, in this order: "
        "prepare, cache, init, train, combine, evaluate, select, export, report."
    ),
)
project.add_commands(app)
screen.add_commands(app)
stages.add_commands(app)
sweep.add_commands(app)
bundle.add_commands(app)
registry.add_commands(app)
corrupt.add_commands(app)
app.add_typer(data.app, name="data")
app.add_typer(pipeline.app, name="pipeline")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; the console script `oodtune`."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata in images: nothing a user could act on
    from oodtune.errors import Stopped, UserError

    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("stopped; finished artifacts are kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
