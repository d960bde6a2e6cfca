"""The endpoint that follows production, started again whenever it ends, and clients that count every answer."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.fixtures.prometheus import free_port
from tests.fixtures.s3 import BIN
from tests.fixtures.tiny_sweep import tiny_settings, write_settings
from tests.system.chaos import Command, Place
from tests.system.kubeflow import REGISTRY
from tests.system.ledger import BrokenError

RELOAD_S = 1.0
LONGEST_START_S = 60.0


class Endpoint:
    """`oodtune serve s3://...` on a port of its own."""

    def __init__(self, place: Place, endpoint_url: str) -> None:
        environment = {**place.environment, "AWS_ENDPOINT_URL": endpoint_url}
        self._place = Place(place.directory, environment, place.logs)
        self._params = place.directory / "serve.yaml"
        write_settings(self._params, tiny_settings(place.directory, serve={"reload_s": RELOAD_S}))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command: Command | None = None
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    @contextmanager
    def running(self) -> Iterator["Endpoint"]:
        """Keep it running until the block ends, whoever kills it."""
        self._keeper.start()
        try:
            self.await_ready()
            yield self
        finally:
            self._stopping.set()
            self._keeper.join()

    def kill(self) -> float:
        """Kill the server as it is now; return how old it was, in seconds."""
        command = self._command
        assert command is not None
        command.process.kill()
        command.process.wait()
        return command.seconds

    def await_ready(self) -> None:
        deadline_s = time.monotonic() + LONGEST_START_S
        while not self._is_ready():
            if time.monotonic() > deadline_s:
                said = self._command.last_line() if self._command else "nothing"
                raise BrokenError(f"the endpoint is not ready after {LONGEST_START_S:.0f} s; it said: {said}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/ready", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _keep(self) -> None:
        words = [BIN / "oodtune", "serve", f"{REGISTRY}/model", "--port", str(self.port), "--params", self._params]
        while not self._stopping.is_set():
            self._command = Command.start(self._place, words)
            while self._command.is_running and not self._stopping.wait(0.05):
                pass
        if self._command is not None:
            self._command.process.terminate()
            self._command.process.wait(30)


@dataclass(frozen=True)
class Answer:
    at_s: float
    status: int
    """0: there was none."""
    version: str
    tries: int


@dataclass
class Traffic:
    """Clients that send images in a round, at a steady pace, until they are told to stop."""

    url: str
    images: Sequence[bytes]
    per_second: float
    retry_for_s: float = 0.0
    """How long a client asks again that got no answer or a 5xx."""
    num_clients: int = 2
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def flowing(self) -> Iterator["Traffic"]:
        clients = [threading.Thread(target=self._ask_on, args=(n,), daemon=True) for n in range(self.num_clients)]
        for client in clients:
            client.start()
        try:
            yield self
        finally:
            self._stop.set()
            for client in clients:
                client.join()

    def send(self, count: int) -> None:
        """Return when so many more are answered."""
        wanted, deadline_s = len(self.answers) + count, time.monotonic() + 10 * count / self.per_second + 60
        while len(self.answers) < wanted:
            if time.monotonic() > deadline_s:
                raise BrokenError(f"expected {count} answers at {self.per_second:g} a second, found too few")
            time.sleep(0.05)

    @property
    def failed(self) -> list[Answer]:
        return [one for one in self.answers if one.status != 200]

    @property
    def tried_again(self) -> int:
        return sum(one.tries - 1 for one in self.answers)

    def versions(self) -> list[str]:
        """Return the versions that answered, in order, each as often as it took over."""
        ordered = [one.version for one in sorted(self.answers, key=lambda one: one.at_s) if one.status == 200]
        return [version for version, _ in itertools.groupby(ordered)]

    def _ask_on(self, number: int) -> None:
        turn_s = self.num_clients / self.per_second
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            for place in itertools.count(number, self.num_clients):
                begun_s = time.monotonic()
                self.answers.append(self._ask(client, self.images[place % len(self.images)]))
                if self._stop.wait(max(0.0, begun_s + turn_s - time.monotonic())):
                    return

    def _ask(self, client: httpx.Client, image: bytes) -> Answer:
        begun_s = time.monotonic()
        for tries in itertools.count(1):
            status, version = _ask_once(client, image)
            late = time.monotonic() - begun_s > self.retry_for_s
            if 200 <= status < 500 or late:
                return Answer(begun_s, status, version, tries)
            time.sleep(0.1)
        raise AssertionError


def _ask_once(client: httpx.Client, image: bytes) -> tuple[int, str]:
    try:
        answer = client.post("/v1/classify", content=image)
    except httpx.TransportError:
        return 0, ""
    return answer.status_code, answer.json()["model_version"] if answer.status_code == 200 else ""
