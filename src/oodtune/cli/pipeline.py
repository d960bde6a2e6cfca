"""`oodtune pipeline`: the sweep as a Kubeflow pipeline, compiled for a cluster or run on this machine."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from oodtune.cli.commit import current_commit
from oodtune.errors import UserError

if TYPE_CHECKING:
    from oodtune.config import Config

app = typer.Typer(no_args_is_help=True, help="The sweep as a Kubeflow pipeline, over the same stages.")

ParamsOption = Annotated[
    Path | None,
    typer.Option("--params", help="Settings of the sweep; without it, the project's params.yaml."),
]
ProjectOption = Annotated[
    Path, typer.Option("--project", help="A checkout of oodtune: the directory that holds pipelines/.")
]


@app.command("compile")
def compile_pipeline(
    params: ParamsOption = None,
    image: Annotated[
        str | None,
        typer.Option(help="Image of every task, best by digest; without it, oodtune-train of this version."),
    ] = None,
    output: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("sweep.yaml"),
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Let the cluster run every task, also where nothing changed.")
    ] = False,
    project: ProjectOption = Path(),
) -> None:
    """Write the pipeline as a file to upload to Kubeflow Pipelines.

    The settings become the defaults of its parameters, so the file runs as it is. Equal settings give
    equal bytes.
    """
    config = _load_config(params, project)
    compiler = _import_from(project, "pipelines.compile")
    compiler.compile_sweep(config, output, image, caching=not no_cache, commit=current_commit() or "")
    typer.echo(f"pipeline: {output}")


@app.command("run")
def run_pipeline(
    local: Annotated[
        bool, typer.Option("--local", help="Run on this machine: one process per task, no containers.")
    ] = False,
    params: ParamsOption = None,
    output: Annotated[Path, typer.Option(help="Directory that keeps the artifacts of every task, and the log.")] = Path(
        "local_outputs"
    ),
    limit_per_cell: Annotated[
        int, typer.Option(min=2, help="Images of each class of each domain, in place of data.limit_per_cell.")
    ] = 10,
    project: ProjectOption = Path(),
) -> None:
    """Run the whole pipeline on a slice of the images.

    It is the very pipeline that `oodtune pipeline compile` writes. Prints where the bundle and the
    report are.
    """
    if not local:
        raise UserError(
            "expected --local: pipelines run on this machine only; for a cluster, upload what "
            "`oodtune pipeline compile` writes"
        )
    config = _with_limit(_load_config(params, project), limit_per_cell)
    run = _import_from(project, "pipelines.local").run_locally(
        config, output, show=lambda line: typer.echo(line, err=True), commit=current_commit() or ""
    )
    typer.echo(f"bundle: {run.bundle}")
    typer.echo(f"report: {run.report}")


def _load_config(params: Path | None, project: Path) -> "Config":
    from oodtune.config import load_config

    return load_config(project / "params.yaml" if params is None else params)


def _with_limit(config: "Config", limit_per_cell: int) -> "Config":
    data = config.data.model_copy(update={"limit_per_cell": limit_per_cell})
    return config.model_copy(update={"data": data})


def _import_from(project: Path, module: str) -> ModuleType:
    """Import `module` of the checkout at `project`: pipelines and components are no part of the wheel."""
    if not (project / "pipelines" / "sweep.py").is_file():
        raise UserError(
            f"{project.resolve()}: expected a checkout of oodtune, found no pipelines/sweep.py; "
            "run inside a checkout or pass --project DIR"
        )
    sys.path.insert(0, str(project.resolve()))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kfp":
            raise
        raise UserError(
            "Kubeflow Pipelines (kfp) is not installed; install it with `pip install 'oodtune[pipeline]'`"
        ) from None
