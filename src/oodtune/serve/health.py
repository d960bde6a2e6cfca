"""Is the process alive, is it ready: the routes that probes ask. Bodies suit every family of clients."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from oodtune.serve.answers import json_answer
from oodtune.serve.engine import Engine
from oodtune.serve.served_model import Served


class Health:
    """What probes ask, whatever the protocol."""

    def __init__(self, served: Served, engine: Engine) -> None:
        self._served = served
        self._engine = engine
        self.draining = False
        """True from SIGTERM on: no new requests, please."""

    @property
    def is_live(self) -> bool:
        """True while every worker runs: a dead one means a bug, and a restart helps."""
        return self._engine.num_alive == self._engine.num_workers

    @property
    def is_ready(self) -> bool:
        """True while requests will be answered."""
        return self.is_live and self._served.is_ready and not self.draining

    async def live(self, request: Request) -> Response:
        return json_answer({"live": self.is_live}, _status(self.is_live))

    async def ready(self, request: Request) -> Response:
        return json_answer({"ready": self.is_ready}, _status(self.is_ready))

    async def summary(self, request: Request) -> Response:
        """Both, and the digest of what is served, for people."""
        model = self._served.current.bundle.digest if self._served.is_ready else None
        facts = {
            "healthy": self.is_ready,
            "workers": self._engine.num_alive,
            "workers_expected": self._engine.num_workers,
        }
        return json_answer({**facts, "model": model}, _status(self.is_ready))


def _status(good: bool) -> HTTPStatus:
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
