"""Signals that ask for an end, kept until the work can be left."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_BY = (signal.SIGTERM, signal.SIGINT)
"""SIGTERM is how Kubernetes announces that a pod will be taken away; SIGINT is Ctrl-C."""


class StopRequest:
    """Which signal asked for an end, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Remember the first signal; further ones change nothing, as the end is on its way."""
        self.signal = self.signal or signal.Signals(number)


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Yield what notes SIGTERM and SIGINT in place of dying of them.

    Only the main thread can listen; in others, nothing is ever noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in ASKED_BY}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
