"""The sweep pipeline on this machine, by kfp's own local runner: each task is a process of this Python."""

import builtins
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from kfp import local

from oodtune.config import Config
from oodtune.errors import UserError
from pipelines.arguments import pipeline_arguments
from pipelines.sweep import build_sweep

COLOUR = re.compile(r"\x1b\[\d+m")
TASK_STARTED = re.compile(r"Executing task '(?P<task>[\w-]+)'")
TASK_ENDED = re.compile(r"Task '(?P<task>[\w-]+)' finished with status (?P<status>\w+)")
RAISED = re.compile(r"^\s*(?P<type>[A-Za-z_][\w.]*(?:Error|Exception)): (?P<text>.+)$")
FAILED_TASK = re.compile(r"Inner task failed: '(?P<task>[\w-]+)'")


@dataclass(frozen=True)
class LocalRun:
    """Where the artifacts of a finished run are."""

    bundle: Path
    report: Path


def run_locally(config: Config, output_dir: Path, show: Callable[[str], None], commit: str = "") -> LocalRun:
    """Run the sweep pipeline with the settings of `config`; its artifacts are kept under `output_dir`.

    `show` is called with a line whenever a task starts or ends; everything the tasks print goes to
    `output_dir/pipeline.log`. `commit` as in `pipeline_arguments`. Raises UserError with the task's own
    words if a task fails.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    log_path = output_dir / "pipeline.log"
    sweep = build_sweep(parallelism=1)  # two trials that share all cores take longer than one after the other
    with log_path.open("w", encoding="utf-8") as file:
        log = RunLog(file, show)
        with _output_of_kfp_to(log):
            runner = local.SubprocessRunner(use_venv=False)  # with a venv, every task would install its own
            local.init(runner, pipeline_root=str(output_dir), raise_on_error=True)
            try:
                outputs = sweep(**pipeline_arguments(config, commit)).outputs
            except RuntimeError as error:  # kfp's word for "a task failed"
                raise UserError(f"{_describe_failure(error, log)}; the whole log is {log_path}") from error
    return LocalRun(bundle=Path(outputs["bundle"].path), report=Path(outputs["report"].path))


class RunLog(io.TextIOBase):
    """A text file that also follows the tasks in what is written to it. Several threads may write."""

    def __init__(self, file: io.TextIOBase, show: Callable[[str], None]) -> None:
        self.last_error: str | None = None
        """The newest exception that any task printed: our own errors without their class."""
        self._file = file
        self._show = show
        self._line = ""
        self._lock = Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._line = (self._line + COLOUR.sub("", text)).split("\n")
            for line in lines:
                self._file.write(line + "\n")
                self._follow(line)
            self._file.flush()
        return len(text)

    def _follow(self, line: str) -> None:
        if found := TASK_STARTED.search(line):
            self._show(f"{found['task']}: started")
        elif found := TASK_ENDED.search(line):
            self._show(f"{found['task']}: {'done' if found['status'] == 'SUCCESS' else 'failed'}")
        elif found := RAISED.match(line):
            ours = found["type"].startswith("oodtune.errors.")
            self.last_error = found["text"] if ours else f"{found['type']}: {found['text']}"


@contextmanager
def _output_of_kfp_to(log: RunLog) -> Iterator[None]:
    """Send what kfp and its tasks print to `log`, and undo what kfp does to this process's print and logging.

    kfp patches both for the length of a task, and puts them back in the wrong order if tasks overlap.
    """
    root = logging.getLogger()
    handlers, level, original_print = root.handlers[:], root.level, builtins.print
    with redirect_stdout(log), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You may be attemping to run")  # (sic) no image runs here
        warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
        try:
            yield
        finally:
            builtins.print = original_print
            root.handlers[:] = handlers
            root.setLevel(level)


def _describe_failure(error: RuntimeError, log: RunLog) -> str:
    found = FAILED_TASK.search(COLOUR.sub("", str(error)))
    task = found["task"] if found else "pipeline"
    return f"{task}: {log.last_error or 'ended without an error message; it was killed or ran out of memory'}"
