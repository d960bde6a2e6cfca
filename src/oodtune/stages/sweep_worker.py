"""A process of a sweep: it trains the trials it is given, one after the other.

`python -m oodtune.stages.sweep_worker` is how a sweep starts it. A line on stdin is a Task, a line on stdout a
Message. The end of stdin asks for an orderly stop: the sweep closes it to stop, and the system does if the sweep
is killed, so that no trial outlives its sweep for longer than a step and a checkpoint.
"""

import io
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Literal

from oodtune.config import Section, StageParams
from oodtune.errors import Stopped, UserError
from oodtune.locks import lock_file
from oodtune.stages import train
from oodtune.stages.sweep_plan import partial_of
from oodtune.trial import Trial

TRACE = "trace.txt"
"""Where a crash is written down, in the trial's hidden directory."""
_PATIENCE_S = 30.0
"""A trial of a sweep that was killed a moment ago may still be writing its last checkpoint."""


class Task(StageParams):
    """One trial to train."""

    cache: Path
    init: Path
    out: Path
    trial: Trial
    params: train.Params
    device: str
    num_threads: int | None = None
    """CPU threads at most; None: as many as `oodtune train` takes."""


class Message(Section):
    """What a worker tells of its trial; `finished`, `failed` and `stopped` are the last."""

    state: Literal["running", "said", "finished", "failed", "stopped"]
    text: str = ""
    done: int = 0
    total: int = 0


Tell = Callable[[Message], None]


def main() -> None:
    """Train what stdin asks for, until it ends or a trial does not finish: after that, the process is not clean."""
    messages = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no message

    def tell(message: Message) -> None:
        with suppress(OSError):  # the sweep is gone: the end of stdin says so too
            os.write(messages, (message.model_dump_json(exclude_defaults=True) + "\n").encode())

    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    with redirect_stderr(_Lines(tell)):
        finished = True
        while finished:
            last = work(tasks.get(), tell)
            tell(last)
            finished = last.state == "finished"


def work(task: Task, tell: Tell) -> Message:
    """Train one trial; `tell` hears how it goes on. Returns the last message."""
    try:
        _limit_threads(task.num_threads)
        _await_writer(task.out)
        train.run(
            task.cache,
            task.init,
            task.out,
            task.params,
            task.trial,
            task.device,
            lambda done, total, what: tell(Message(state="running", text=what, done=done, total=total)),
        )
    except Stopped as stopped:
        return Message(state="stopped", text=str(stopped))
    except UserError as error:
        return Message(state="failed", text=str(error))
    except Exception as error:  # noqa: BLE001  (whatever ends one trial, the others go on)
        return Message(state="failed", text=_explain(error, task.out))
    return Message(state="finished")


def _listen(tasks: "queue.SimpleQueue[Task]") -> None:
    """Hand on the tasks on stdin; at its end, ask this process to stop as a signal would."""
    # Unbuffered: a thread that waits in a buffered reader cannot be left when the process ends.
    with io.FileIO(sys.stdin.fileno(), closefd=False) as stream:
        while line := stream.readline():
            tasks.put(Task.from_json(line.decode()))
    os.kill(os.getpid(), signal.SIGTERM)


class _Lines(io.TextIOBase):
    """A stream whose lines are told."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(Message(state="said", text=line))
        return len(text)


def _limit_threads(num_threads: int | None) -> None:
    import torch

    if num_threads is not None:
        torch.set_num_threads(min(num_threads, torch.get_num_threads()))


def _await_writer(out: Path) -> None:
    """Wait a little for another process that is writing the trial; if it goes on, training itself refuses."""
    lock = partial_of(out) / "lock"
    deadline_s = time.monotonic() + _PATIENCE_S
    while lock.exists() and time.monotonic() < deadline_s:
        with suppress(FileNotFoundError), lock_file(lock, wait=False) as state:
            if state != "taken":
                return
        time.sleep(0.1)


def _explain(error: Exception, out: Path) -> str:
    """Return one line on an error that training itself does not explain; a bug's trace is put into a file."""
    import torch

    first_line = (str(error).splitlines() or [""])[0]
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in first_line:
        return (
            f"expected memory for one more trial, found: {first_line or type(error).__name__}; lower --concurrency or "
            "train.batch_per_domain"
        )
    trace = partial_of(out) / TRACE
    with suppress(OSError):
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text(traceback.format_exc(), encoding="utf-8")
    return f"a bug ({type(error).__name__}: {first_line}); please report it with {trace}"


if __name__ == "__main__":
    main()
