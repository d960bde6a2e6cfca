"""Settings of the endpoint: the `serve` section, then the environment.

Beside stages/tracking.py, nothing else reads the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from oodtune.bundle import Provider
from oodtune.config import ServeConfig, describe_validation_error
from oodtune.cpus import count_cpus
from oodtune.errors import ConfigError

# Not OODTUNE_PORT: Kubernetes sets that to "tcp://..." in the pods beside a Service named oodtune.
VARIABLES: Final = {
    "host": "OODTUNE_LISTEN_HOST",
    "port": "OODTUNE_LISTEN_PORT",
    "max_body_bytes": "OODTUNE_MAX_BODY_BYTES",
    "max_waiting": "OODTUNE_MAX_WAITING",
    "bundle": "OODTUNE_BUNDLE",
    "provider": "OODTUNE_PROVIDER",
    "workers": "OODTUNE_WORKERS",
}
"""Field -> the environment variable that overrides it."""


class ServeSettings(ServeConfig):
    """The `serve` section of `params.yaml` and what only the place of serving knows."""

    bundle: Path | None = None
    """The bundle to serve, where no command line names it."""
    provider: Provider = "cpu"
    workers: Annotated[int, Field(ge=1)] = Field(default_factory=count_cpus)
    """Threads that decode and predict, one CPU each."""


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
    found = {field: environ[name] for field, name in VARIABLES.items() if environ.get(name)}
    flags = {field: value for field, value in (overrides or {}).items() if value is not None}
    try:
        return ServeSettings.model_validate({**config.model_dump(), **found, **flags})
    except ValidationError as error:
        wrong = [str(problem["loc"][0]) for problem in error.errors()]
        names = ", ".join(VARIABLES[field] for field in wrong if field in found and field not in flags)
        origin = f"environment ({names})" if names else "settings of serve"
        raise ConfigError(f"{origin}: {describe_validation_error(error)}") from None
