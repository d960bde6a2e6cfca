"""One trial by several processes of this machine: torchrun, followed, stopped and explained."""

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oodtune.errors import ClusterError, Stopped, TrainingError

_KEPT_LINES = 200
"""Of the end of the output, where the reason of a failure is looked for."""


def run_processes(count: int, device: str, cache: Path | str, init: Path | str, out: Path, item: str) -> None:
    """Train the trial `item` with `count` processes. Raises TrainingError with its own words, Stopped after a signal.

    Raises ClusterError if it ended without words: that is no failure of the trial, and another attempt may do better.
    torchrun ends with a code of its own whatever happened, so the reason is read from what the first rank said.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "oodtune"]
    stage = [
        "train-planned",
        "--cache",
        str(cache),
        "--init",
        str(init),
        "--out",
        str(out),
        "--device",
        device,
        "--item",
        item,
    ]
    with subprocess.Popen(
        [sys.executable, *launcher, *stage],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        with _forwarded_signals(process) as received:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", file=sys.stderr)
                last.append(line.rstrip())
            code = process.wait()
    if received:
        raise Stopped(f"{out.name} by signal {received[0]}; run it again: it goes on from its checkpoint", received[0])
    if code:
        errors = [line.partition("error: ")[2] for line in last if "error: " in line]
        if errors:
            raise TrainingError(f"{count} processes: {errors[0]}")
        raise ClusterError(
            f"{out.name}: {count} processes ended with code {code} and no words: one was killed, or memory ran out; "
            "run it again: it goes on from its checkpoint"
        )


@contextmanager
def _forwarded_signals(process: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Yield the signals that came, which are passed on: torchrun stops its ranks, and each writes what it must."""
    received: list[int] = []

    def forward(number: int, _frame: Any) -> None:
        received.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
