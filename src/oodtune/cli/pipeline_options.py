"""What the commands of `oodtune pipeline` share: their options, the settings and the checkout they work on."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oodtune.cli.commit import current_commit
from oodtune.errors import UserError

if TYPE_CHECKING:
    from oodtune.config import Config

PipelineName = Literal["sweep", "retrain"]

NameArgument = Annotated[
    PipelineName,
    typer.Argument(help="`sweep` ends in a bundle; `retrain` does so if the data is new, and may promote it."),
]
ParamsOption = Annotated[
    Path | None,
    typer.Option("--params", help="Settings of the pipeline; without it, the project's params.yaml."),
]
ProjectOption = Annotated[
    Path, typer.Option("--project", help="A checkout of oodtune: the directory that holds pipelines/.")
]
ImageOption = Annotated[
    str | None,
    typer.Option(help="Image of every task, best by digest; without it, oodtune-train of this version."),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Run every task, also where nothing changed.")]


def load_settings(params: Path | None, project: Path) -> "Config":
    """Return the settings in the file `params`, or else in the project's own."""
    from oodtune.config import load_config

    return load_config(project / "params.yaml" if params is None else params)


def compile_settings(
    name: PipelineName, params: Path | None, project: Path, image: str | None, no_cache: bool
) -> "tuple[Config, Any]":
    """Return the settings, and the pipeline `name` compiled for them at the project's commit: a `Compiled`."""
    config = load_settings(params, project)
    compiler = import_from(project, "pipelines.compile")
    commit = current_commit() or ""
    return config, compiler.compile_pipeline(name, config, image, caching=not no_cache, commit=commit)


def import_from(project: Path, module: str) -> ModuleType:
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
        if (error.name or "").partition(".")[0] not in {"kfp", "kfp_server_api"}:
            raise
        raise UserError(
            "Kubeflow Pipelines (kfp) is not installed; install it with `pip install 'oodtune[pipeline]'`"
        ) from None
