"""`oodtune pipeline`: compile a Kubeflow pipeline, run it on this machine, or in a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodtune.cli import pipeline_cluster
from oodtune.cli.commit import current_commit
from oodtune.cli.pipeline_options import (
    ImageOption,
    NameArgument,
    NoCacheOption,
    ParamsOption,
    ProjectOption,
    compile_settings,
    import_from,
    load_settings,
)
from oodtune.errors import UserError

if TYPE_CHECKING:
    from oodtune.config import Config

app = typer.Typer(no_args_is_help=True, help="The same stages as Kubeflow pipelines: here, or in a cluster.")


@app.command("compile")
def compile_pipeline(
    name: NameArgument = "sweep",
    params: ParamsOption = None,
    image: ImageOption = None,
    output: Annotated[
        Path | None, typer.Option(help="The YAML file to write; without it, the pipeline's name with .yaml.")
    ] = None,
    no_cache: NoCacheOption = False,
    manifest: Annotated[
        bool,
        typer.Option(
            "--manifest",
            help="Write Kubernetes objects (Pipeline, PipelineVersion) for `kubectl apply`, "
            "for an API server that keeps its pipelines in Kubernetes.",
        ),
    ] = False,
    namespace: Annotated[str | None, typer.Option(help="Namespace of the objects that --manifest writes.")] = None,
    project: ProjectOption = Path(),
) -> None:
    """Write a pipeline as a file to upload to Kubeflow Pipelines.

    The settings become the defaults of its parameters, so the file runs as it is. Equal settings give
    equal bytes.
    """
    if namespace is not None and not manifest:
        raise UserError("--namespace: expected --manifest with it; only Kubernetes objects name their namespace")
    _, compiled = compile_settings(name, params, project, image, no_cache)
    compiler = import_from(project, "pipelines.compile")
    output = Path(f"{name}.yaml") if output is None else output
    if manifest:
        compiler.write_manifest(compiled, output, namespace)
    else:
        compiler.write_pipeline(compiled, output)
    typer.echo(f"pipeline: {output}")
    typer.echo(f"version: {compiled.version}")


@app.command("run")
def run_pipeline(
    name: NameArgument = "sweep",
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
    data_rev: Annotated[str, typer.Option(help="Revision of the data, in place of data.dvc.rev.")] = "",
    no_cache: NoCacheOption = False,
    project: ProjectOption = Path(),
) -> None:
    """Run a whole pipeline on a slice of the images.

    It is the very pipeline that `oodtune pipeline compile` writes. Prints where the bundle and the
    report are, if it made them.
    """
    if not local:
        raise UserError("expected --local; for a cluster, use `oodtune pipeline submit`")
    config = _with_limit(load_settings(params, project), limit_per_cell)
    runner = import_from(project, "pipelines.local")
    wanted = runner.Wanted(config, name, current_commit() or "", data_rev, caching=not no_cache)
    run = runner.run_locally(wanted, output, show=lambda line: typer.echo(line, err=True))
    for what, path in (("bundle", run.bundle), ("report", run.report)):
        if path is not None:
            typer.echo(f"{what}: {path}")


def _with_limit(config: "Config", limit_per_cell: int) -> "Config":
    data = config.data.model_copy(update={"limit_per_cell": limit_per_cell})
    return config.model_copy(update={"data": data})


pipeline_cluster.add_commands(app)
