"""Subcommands that use a finished bundle."""

from pathlib import Path
from typing import Annotated

import typer

BundlePath = Annotated[Path, typer.Argument(help="A `bundle` artifact, from `oodtune export`.")]
Provider = Annotated[str, typer.Option(help="Where ONNX Runtime computes: cpu or cuda.")]
PANEL = "Use a finished model"


def add_commands(app: typer.Typer) -> None:
    for command in (predict, serve, inspect):
        app.command(rich_help_panel=PANEL)(command)


def predict(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many labels to print for each image.")] = 3,
    provider: Provider = "cpu",
) -> None:
    """Classify image files."""
    from oodtune.stages.predict import classify_files

    for path, labels in classify_files(bundle, images, top_k, provider):
        print(f"{path}: " + ", ".join(f"{label} {probability:.1%}" for label, probability in labels))


def serve(
    bundle: BundlePath,
    params: Annotated[
        Path | None,
        typer.Option(help="Settings file whose section `serve` is used; without it, the defaults."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = None,
    provider: Annotated[str | None, typer.Option(help="Where ONNX Runtime computes: cpu or cuda.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode and predict; by default one per CPU.")
    ] = None,
) -> None:
    """Serve a bundle over HTTP: POST an image to /v1/classify; also /healthz and /metrics.

    Every setting can also come from the environment, as OODTUNE_LISTEN_PORT and the like.
    """
    from oodtune.config import ServeConfig, load_config
    from oodtune.serve.server import run_server
    from oodtune.serve.settings import read_settings

    flags = {"host": host, "port": port, "provider": provider, "workers": workers, "bundle": bundle}
    config = load_config(params).serve if params else ServeConfig()
    run_server(bundle, read_settings(config, flags))


def inspect(bundle: BundlePath) -> None:
    """Print where a bundle comes from: data, settings, scores, versions."""
    import json

    from oodtune.artifact import open_artifact

    artifact = open_artifact(bundle, "bundle")
    lineage = json.loads((artifact.path / "lineage.json").read_text(encoding="utf-8"))
    print(json.dumps({"digest": artifact.digest, **lineage}, indent=2, sort_keys=True))
