"""Settings of the endpoint: the `serve` section, then the environment.

Beside stages/tracking.py, nothing else reads the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, ValidationError

from oodtune.bundle import Provider
from oodtune.config import ServeConfig, describe_validation_error
from oodtune.cpus import count_cpus
from oodtune.errors import ConfigError

_LISTEN: Final = ("host", "port", "grpc_port", "metrics_port")


class ServeSettings(ServeConfig):
    """The `serve` section of `params.yaml` and what only the place of serving knows."""

    bundle: str | None = None
    """The bundle to serve, where no command line names it: a path, or an address in a registry."""
    endpoint_url: str | None = None
    """Address of the S3 service of that registry; None: boto3's default."""
    provider: Provider = "cpu"
    workers: Annotated[int, Field(ge=1)] = Field(default_factory=count_cpus)
    """Threads that decode and predict, one CPU each."""
    token: SecretStr | None = None
    """Without it in `Authorization: Bearer ...`, nothing but health and metrics is answered."""
    tls_certificate: Path | None = None
    """PEM file; with it, both protocols speak TLS."""
    tls_key: Path | None = None
    """PEM file of its private key."""
    tls_client_authority: Path | None = None
    """PEM file; with it, clients must show a certificate that it signed (mutual TLS)."""


def _variable(field: str) -> str:
    # Not OODTUNE_PORT: Kubernetes sets that to "tcp://..." in the pods beside a Service named oodtune.
    return ("OODTUNE_LISTEN_" if field in _LISTEN else "OODTUNE_") + field.upper()


VARIABLES: Final = {field: _variable(field) for field in ServeSettings.model_fields}
"""Field -> the environment variable that overrides it."""


def read_settings(
    config: ServeConfig,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> ServeSettings:
    """Return `config`, under the variables of `environ` (None: this process's), under `overrides`.

    `overrides` maps fields to values, as command line flags do; None is no value.
    Raises ConfigError that names the key and the variable whose value is wrong.
    """
    environ = os.environ if environ is None else environ
    given = {field: environ[name] for field, name in VARIABLES.items() if environ.get(name)}
    found = {field: None if text == "null" else text for field, text in given.items()}
    flags = {field: value for field, value in (overrides or {}).items() if value is not None}
    try:
        return ServeSettings.model_validate({**config.model_dump(), **found, **flags})
    except ValidationError as error:
        wrong = [str(problem["loc"][0]) for problem in error.errors()]
        names = ", ".join(VARIABLES[field] for field in wrong if field in found and field not in flags)
        origin = f"environment ({names})" if names else "settings of serve"
        raise ConfigError(f"{origin}: {describe_validation_error(error)}") from None
