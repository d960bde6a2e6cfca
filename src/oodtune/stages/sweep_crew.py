"""The processes of a sweep, and what they tell."""

import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from oodtune.errors import TrainingError
from oodtune.stages.sweep_worker import Message, Task

_WORKER = ("-P", "-m", "oodtune.stages.sweep_worker")


class Crew:
    """At most `size` processes, each with one trial at a time. Use it as a context: then none is left.

    A process that finished a trial takes the next one: starting costs seconds. None is forked: CUDA and OpenMP do
    not survive that. Each is a session of its own, so Ctrl-C reaches the sweep alone, which then asks them to stop.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._workers: list[_Worker] = []
        self._inbox: queue.SimpleQueue[tuple[_Worker, Message | None]] = queue.SimpleQueue()
        self._stopping = False

    @property
    def num_busy(self) -> int:
        return sum(worker.task is not None for worker in self._workers)

    @property
    def has_room(self) -> bool:
        return self.num_busy < self.size

    def give(self, task: Task) -> None:
        """Let a process train the trial of `task`. Raises TrainingError if none can be started."""
        assert self.has_room
        idle = next((worker for worker in self._workers if worker.is_idle), None)
        if idle is None:
            idle = _start_worker(self._inbox)
            self._workers.append(idle)
        idle.give(task)

    def listen(self, timeout_s: float) -> tuple[Task, Message] | None:
        """Return the next message and the task it is of; None if none comes in time.

        A process that ends without a last message gets one here.
        """
        try:
            worker, message = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        task = worker.task
        if message is None:
            self._workers.remove(worker)
            code = worker.wait()
            message = describe_end(code, self.size, self._stopping)
        elif message.state in ("finished", "failed", "stopped"):
            worker.task = None
            if message.state != "finished":
                worker.close()
        return None if task is None else (task, message)

    def ask_to_stop(self) -> None:
        """Ask every process for an end after the step under way and a checkpoint; asking twice changes nothing."""
        self._stopping = True
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask_to_stop()
        for worker in self._workers:
            worker.wait()


class _Worker:
    """A process, and what it is at."""

    def __init__(self, inbox: "queue.SimpleQueue[tuple[_Worker, Message | None]]") -> None:
        self.task: Task | None = None
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, *_WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(inbox,), daemon=True)
        self._reader.start()

    @property
    def is_idle(self) -> bool:
        return self.task is None and not self._closed

    def give(self, task: Task) -> None:
        self.task = task
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died: the end of its messages says so
            self._process.stdin.write(task.to_json() + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Close its stdin, which it takes as a signal."""
        assert self._process.stdin is not None
        self._closed = True
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self) -> int:
        """Return its exit code when it has ended."""
        self.close()
        code = self._process.wait()
        self._reader.join()
        return code

    def _read(self, inbox: "queue.SimpleQueue[tuple[_Worker, Message | None]]") -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                inbox.put((self, Message.model_validate_json(line)))
        inbox.put((self, None))


def _start_worker(inbox: "queue.SimpleQueue[tuple[_Worker, Message | None]]") -> _Worker:
    try:
        return _Worker(inbox)
    except OSError as error:
        raise TrainingError(
            f"expected to start one more process, found: {error}; lower --concurrency, and run the same command again"
        ) from None


def describe_end(code: int, concurrency: int, stopping: bool) -> Message:
    """Return the last message of a process that ended with `code` and left none."""
    if stopping and code == -signal.SIGTERM:
        return Message(state="stopped", text="before its first step")
    again = "run the same command again: it goes on from the last checkpoint"
    if code == -signal.SIGKILL:
        fewer = "lower train.batch_per_domain" if concurrency == 1 else f"lower --concurrency (it is {concurrency})"
        text = f"killed, as systems do when memory runs out (SIGKILL); {fewer}, and {again}"
    elif code < 0:
        text = f"its process ended by {_signal_name(-code)}; {again}"
    else:
        text = f"its process ended with code {code} and no word; {again}"
    return Message(state="failed", text=text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
