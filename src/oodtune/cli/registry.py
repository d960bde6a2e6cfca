"""Subcommands of the registry: versions of a model in an S3 bucket, and which of them is in production."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from oodtune.registry.objects import Objects

PANEL = "Versions in a registry (S3)"
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="Address of the model, as in s3://bucket/models/name; by default that of section `publish` in --params.",
    ),
]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint-url", help="Address of the S3 service, where it is not that of AWS.")
]
ParamsOption = Annotated[Path, typer.Option("--params", help="The settings file.", show_default=True)]
DEFAULT_PARAMS = Path("params.yaml")


def add_commands(app: typer.Typer) -> None:
    for command in (publish, pull, promote, rollback, versions):
        app.command(rich_help_panel=PANEL)(command)


def publish(
    bundle: Annotated[Path, typer.Argument(help="A `bundle` artifact, from `oodtune export`.")],
    registry: RegistryOption = None,
    endpoint_url: EndpointOption = None,
    params: ParamsOption = DEFAULT_PARAMS,
    promote: Annotated[bool, typer.Option("--promote", help="Put the version into production, too.")] = False,
) -> None:
    """Publish a bundle as an immutable version and print its address. Uses section `publish`.

    The same bundle is the same version, however often it is published. Killed at any moment, nothing is
    visible, and the same command goes on with the files that are missing.
    """
    from oodtune.stages import publish as stage

    address, endpoint = _find_registry(registry, endpoint_url, params)
    print(stage.publish(bundle, address, endpoint, promote))


def pull(
    address: Annotated[
        str,
        typer.Argument(
            help="A model, as in s3://bucket/models/name, followed by @VERSION, or else what is in production."
        ),
    ],
    out_dir: Annotated[Path, typer.Option(help="Where the version's directory goes.")] = Path("bundles"),
    endpoint_url: EndpointOption = None,
) -> None:
    """Bring a version here, compare every sha256, and print its path: a `bundle`.

    It appears when it is whole. Killed at any moment, the same command goes on with the files that are missing.
    """
    from oodtune.progress import progress_bar
    from oodtune.registry.pull import fetch_bundle

    with progress_bar("Pull") as progress:
        path = fetch_bundle(address, out_dir, endpoint_url, progress)
    print(path)


def promote(
    version: Annotated[str, typer.Argument(help="Name or number of a version, from `oodtune versions`.")],
    registry: RegistryOption = None,
    endpoint_url: EndpointOption = None,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Put a version into production. Uses section `publish`."""
    from oodtune.registry.production import promote as move

    objects = _open(registry, endpoint_url, params)
    print(f"in production: {move(objects, version)}")


def rollback(
    registry: RegistryOption = None, endpoint_url: EndpointOption = None, params: ParamsOption = DEFAULT_PARAMS
) -> None:
    """Put the version that was in production before back there. Uses section `publish`."""
    from oodtune.registry.production import rollback as move

    print(f"in production: {move(_open(registry, endpoint_url, params))}")


def versions(
    registry: RegistryOption = None,
    endpoint_url: EndpointOption = None,
    params: ParamsOption = DEFAULT_PARAMS,
    history: Annotated[bool, typer.Option("--history", help="Print every promotion and rollback instead.")] = False,
) -> None:
    """List the finished versions, oldest first. Uses section `publish`."""
    from oodtune.registry.ledger import list_finished
    from oodtune.registry.production import read_production

    objects = _open(registry, endpoint_url, params)
    production = read_production(objects)
    if history:
        for move in production.history:
            print(f"{move.sequence:>5}  {move.action:<8}  {move.version}")
        return
    for version, facts in list_finished(objects).items():
        mark = "production" if version == production.version else ""
        line = f"{version}  {facts.published:%Y-%m-%d %H:%M} UTC  {facts.num_bytes / 1e6:9.1f} MB  {mark}"
        print(line.rstrip())


def _open(registry: str | None, endpoint_url: str | None, params: Path) -> "Objects":
    from oodtune.registry.objects import open_objects
    from oodtune.registry.place import parse_address

    address, endpoint = _find_registry(registry, endpoint_url, params)
    return open_objects(parse_address(address)[0], endpoint)


def _find_registry(registry: str | None, endpoint_url: str | None, params: Path) -> tuple[str, str | None]:
    """Return the model's address and the service's; raises UserError where neither option nor settings name one."""
    from oodtune.config import load_config
    from oodtune.errors import UserError
    from oodtune.stages.publish import Params

    if registry is not None:
        return registry, endpoint_url
    settings = Params.from_config(load_config(params)).publish
    if settings.registry is None:
        raise UserError(f"{params}: expected a registry in publish.url, found null; set it, or pass --registry")
    return settings.registry, endpoint_url or settings.endpoint_url
