"""What a server is made of."""

from dataclasses import dataclass, field
from typing import Final

from oodtune.errors import UserError
from oodtune.serve.body import BodyReader
from oodtune.serve.engine import Engine
from oodtune.serve.health import Health
from oodtune.serve.metrics import Metrics
from oodtune.serve.served_model import Served
from oodtune.serve.settings import ServeSettings

DRAIN_S: Final = 30
"""Requests in flight have this long to finish after SIGTERM."""


@dataclass(frozen=True)
class Parts:
    """What a server is made of, whatever the protocol in front of it."""

    settings: ServeSettings
    served: Served
    metrics: Metrics
    engine: Engine
    bodies: BodyReader
    health: Health
    failures: list[UserError] = field(default_factory=list)
    """Why the server cannot go on, if it cannot."""


def create_parts(settings: ServeSettings) -> Parts:
    """Return the parts of a server that serves no model yet: `parts.served.replace(model)` makes it ready."""
    served = Served(settings.name)
    metrics = Metrics()
    served.on_replace.append(metrics.introduce)
    engine = Engine(metrics, settings)
    bodies = BodyReader(settings.max_body_bytes, settings.max_buffered_bytes)
    return Parts(settings, served, metrics, engine, bodies, Health(served, engine))
