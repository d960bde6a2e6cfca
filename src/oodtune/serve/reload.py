"""The served model follows its source: a new version is loaded beside the old one, and takes its place when it is warm.

All of it happens in one thread of its own: requests never wait for it.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from oodtune.errors import UserError
from oodtune.serve.served_model import Served, ServedModel
from oodtune.serve.sources import Source

log = logging.getLogger(__name__)

Outcome = Literal["replaced", "refused", "unreachable"]
"""Of a look at the source: a new version serves, or does not load; or the source cannot be asked."""
Load = Callable[[Path, str], ServedModel]
"""Makes a warm model of a bundle's directory and its version. Raises UserError."""

_LONGEST_PAUSE_S: Final = 3600.0
"""Between two attempts with a version that does not load."""
_LAST_WORDS_S: Final = 0.5
"""A thread that can end does so within this time."""


class _StoppedError(Exception):
    """The server ends: what is being loaded is of no more use."""


class Reloader:
    """Loads what `source` means, then looks again every `interval_s` (None: only when asked).

    A version that does not load is refused, and the old one serves on; it is tried again after pauses that double,
    and whenever a look is asked for.
    """

    def __init__(
        self,
        source: Source,
        load: Load,
        served: Served,
        count: Callable[[Outcome], None],
        interval_s: float | None,
    ) -> None:
        self.error: Exception | None = None
        """Why the first version did not load."""
        self._source, self._load, self._served, self._count = source, load, served, count
        self._interval_s = interval_s
        self._orders: queue.SimpleQueue[Literal["look", "stop"]] = queue.SimpleQueue()  # a signal handler may put
        self._stopping = False
        self._opening = threading.Lock()
        self._state = ""
        self._refused, self._pause_s, self._retry_at_s = "", 0.0, 0.0
        self._thread: threading.Thread | None = None

    def start(self, ready: Callable[[], None], failed: Callable[[], None]) -> None:
        """Load in a thread, which calls one of both when that ends; it looks for other versions if it was `ready`."""
        self._thread = threading.Thread(target=self._work, args=(ready, failed), name="reload", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Look at the source soon, whatever the interval. Signal handlers may call it."""
        self._orders.put("look")

    def stop(self, timeout_s: float) -> None:
        """End the thread, and what it has brought here. Wait for `timeout_s`, at most, while it opens a session: the
        runtime does not survive an end of the process in there. A registry that is slow to answer is not waited for.
        """
        self._stopping = True
        self._orders.put("stop")
        self._opening.acquire(timeout=timeout_s)  # for good: no session is opened from here on
        if self._thread is not None:
            self._thread.join(_LAST_WORDS_S)
        self._source.forget(keep="")

    def _work(self, ready: Callable[[], None], failed: Callable[[], None]) -> None:
        try:
            self._served.replace(self._bring(self._source.find_version()))
        except _StoppedError:
            return
        except Exception as error:  # noqa: BLE001  (the main thread raises it)
            if not self._stopping:  # nobody waits for it any more
                self.error = error
                failed()
            return
        ready()
        try:
            while (order := self._wait()) != "stop":
                self.look(asked=order == "look")
        except _StoppedError:
            return

    def _wait(self) -> Literal["look", "stop"] | None:
        try:
            return self._orders.get(timeout=self._interval_s)
        except queue.Empty:
            return None

    def look(self, asked: bool = False) -> None:
        """Serve the version that the source means now, if it is another one and it loads."""
        try:
            version = self._source.find_version()
        except UserError as error:
            self._note("unreachable", "the served version stays, its source cannot be asked: %s", error)
            return
        if version == self._served.current.version:
            self._state = ""
            return
        if version != self._refused or asked or time.monotonic() >= self._retry_at_s:
            self._replace(version)

    def _replace(self, version: str) -> None:
        old = self._served.current.version
        try:
            model = self._bring(version)
        except _StoppedError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever is wrong with a new version, the old one is there)
            self._postpone(version)
            self._note("refused", f"version {old} stays, version {version} is refused: %s", error)
            return
        self._served.replace(model)
        self._source.forget(keep=version)
        self._refused, self._state = "", ""
        self._count("replaced")
        log.info("version %s serves in the place of %s", version, old)

    def _bring(self, version: str) -> ServedModel:
        path = self._source.fetch(version, lambda done, total, what: self._check_stop())
        with self._opening:
            self._check_stop()
            model = self._load(path, version)
        return replace(model, published_s=self._source.find_published(version))

    def _check_stop(self) -> None:
        if self._stopping:
            raise _StoppedError

    def _postpone(self, version: str) -> None:
        first_s = self._interval_s or 0.0
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if version == self._refused else first_s
        self._refused, self._retry_at_s = version, time.monotonic() + self._pause_s

    def _note(self, outcome: Outcome, message: str, error: Exception) -> None:
        """Count every trouble; log one that lasts only once."""
        self._check_stop()
        self._count(outcome)
        state = f"{outcome} {self._refused}"
        if state != self._state:
            self._state = state
            log.warning(message, error)
