"""Subcommands that use a finished bundle."""

from pathlib import Path
from typing import Annotated

import typer

BundlePath = Annotated[Path, typer.Argument(help="A `bundle` artifact, from `oodtune export`.")]
Provider = Annotated[str, typer.Option(help="Where ONNX Runtime computes: cpu, cuda or tensorrt.")]
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
    bundle: Annotated[
        str | None,
        typer.Argument(
            help="A bundle from `oodtune export`, a directory that holds one, or a model in a registry, as in "
            "s3://bucket/models/name: what is in production, or @VERSION. By default OODTUNE_BUNDLE, or else what "
            "KServe mounts at /mnt/models.",
            show_default=False,
        ),
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(help="Settings file whose section `serve` is used; without it, the defaults."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for gRPC; without it, there is only HTTP.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model.")] = None,
    provider: Annotated[str | None, typer.Option(help="Where ONNX Runtime computes: cpu, cuda or tensorrt.")] = None,
    allow_cpu: Annotated[
        bool, typer.Option("--allow-cpu", help="Serve on the CPU where the provider does not work.")
    ] = False,
    variant: Annotated[str | None, typer.Option(help="Which graph of the bundle: fp32, fp16 or int8.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode and predict; by default one per CPU.")
    ] = None,
) -> None:
    """Serve a bundle: the Open Inference Protocol, POST an image to /v1/classify, and /metrics.

    It is live at once, ready when the bundle has proven itself and is warm. What is in production in a registry is
    followed: a new version takes over without a failed request, and one that does not load is refused. SIGHUP looks
    at once, also at a directory; SIGTERM answers what is in flight, then ends.

    - `oodtune serve artifacts/bundle`

    - `oodtune serve s3://models/birds --host 0.0.0.0 --grpc-port 9000`

    - `curl --data-binary @bird.jpg localhost:8080/v1/classify`

    Every setting can also come from the environment, as OODTUNE_LISTEN_PORT and the like.
    """
    from oodtune.config import ServeConfig, load_config
    from oodtune.serve.server import run_server
    from oodtune.serve.settings import read_settings

    flags = {
        "bundle": bundle,
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "name": name,
        "provider": provider,
        "allow_cpu": allow_cpu or None,
        "variant": variant,
        "workers": workers,
    }
    settings = read_settings(load_config(params).serve if params else ServeConfig(), flags)
    run_server(settings.bundle, settings)


def inspect(bundle: BundlePath) -> None:
    """Print where a bundle comes from: data, settings, scores, versions."""
    import json

    from oodtune.artifact import open_artifact

    artifact = open_artifact(bundle, "bundle")
    lineage = json.loads((artifact.path / "lineage.json").read_text(encoding="utf-8"))
    print(json.dumps({"digest": artifact.digest, **lineage}, indent=2, sort_keys=True))
