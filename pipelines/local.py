"""A pipeline on this machine, by kfp's own local runner: each task is a process of this Python."""

import builtins
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock

from kfp import local

import components
import oodtune
from oodtune.config import Config
from oodtune.errors import UserError
from oodtune.hashing import hash_files
from pipelines.build import PipelineName, build_pipeline, pipeline_arguments

COLOUR = re.compile(r"\x1b\[\d+m")
TASK_STARTED = re.compile(r"Executing task '(?P<task>[\w-]+)'")
TASK_ENDED = re.compile(r"Task '(?P<task>[\w-]+)' finished with status (?P<status>\w+)")
RAISED = re.compile(r"^\s*(?P<type>[A-Za-z_][\w.]*(?:Error|Exception)): (?P<text>.+)$")
OUTPUTS = re.compile(r"Task '(?P<task>[\w-]+)' outputs:")
PLACE = re.compile(r"^\s*uri='(?P<path>[^']+/out)',")
CACHED = re.compile(r"Task (?P<task>[\w-]+) cache hit \(key=(?P<key>[0-9a-f]+)\)")
FAILED_TASK = re.compile(r"Inner task failed: '(?P<task>[\w-]+)'")


@dataclass(frozen=True)
class LocalRun:
    """Where the artifacts of a finished run are."""

    bundle: Path | None
    """None if the gate refused the choice, or nothing was due."""
    report: Path | None
    """None if nothing was due."""


@dataclass(frozen=True)
class Wanted:
    """Which pipeline runs, and on what."""

    config: Config
    name: PipelineName = "sweep"
    commit: str = ""
    data_rev: str = ""
    """As in `pipeline_arguments`."""
    caching: bool = True
    """Take the outputs of earlier runs in the same directory where inputs, settings and code are the same."""


def run_locally(wanted: Wanted, output_dir: Path, show: Callable[[str], None]) -> LocalRun:
    """Run a pipeline; its artifacts are kept under `output_dir`, and what tasks share in `output_dir/shared`.

    `show` is called with a line whenever a task starts or ends; everything the tasks print goes to
    `output_dir/pipeline.log`. Raises UserError with the task's own words if a task fails.
    """
    output_dir = output_dir.resolve()
    output_dir.mkdir(parents=True, exist_ok=True)
    log_path = output_dir / "pipeline.log"
    config = wanted.config
    # kfp's memory of results knows the image, and not the code that this machine runs in its place
    pipeline = build_pipeline(wanted.name, config, f"local:{_digest_code()}", wanted.caching, in_cluster=False)
    given = pipeline_arguments(wanted.name, config, wanted.commit, wanted.data_rev, str(output_dir / "shared"))
    with log_path.open("w", encoding="utf-8") as file:
        cache_dir = output_dir / "kfp-cache"
        log = RunLog(file, show, cache_dir)
        with _output_of_kfp_to(log):
            runner = local.SubprocessRunner(use_venv=False)  # with a venv, every task would install its own
            local.init(runner, str(output_dir), None, True, enable_caching=wanted.caching, cache_root=str(cache_dir))
            try:
                pipeline(**given)
            except RuntimeError as error:  # kfp's word for "a task failed"
                raise UserError(f"{_describe_failure(error, log)}; the whole log is {log_path}") from error
            finally:
                _make_whole(cache_dir)
    return LocalRun(bundle=log.outputs.get("export"), report=log.outputs.get("report"))


class RunLog(io.TextIOBase):
    """A text file that also follows the tasks in what is written to it. Several threads may write."""

    def __init__(self, file: io.TextIOBase, show: Callable[[str], None], cache_dir: Path) -> None:
        self.last_error: str | None = None
        """The newest exception that any task printed: our own errors without their class."""
        self.outputs: dict[str, Path] = {}
        """Task -> its artifact named `out`."""
        self._task: str | None = None
        self._file = file
        self._show = show
        self._cache_dir = cache_dir
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
        elif found := OUTPUTS.search(line):
            self._task = found["task"]
        elif (found := PLACE.match(line)) and self._task is not None:
            self.outputs[self._task] = Path(found["path"])
        elif found := CACHED.search(line):
            self._show(f"{found['task']}: done before")
            self._remember(found["task"], found["key"])
        elif found := RAISED.match(line):
            ours = found["type"].startswith("oodtune.errors.")
            self.last_error = found["text"] if ours else f"{found['type']}: {found['text']}"

    def _remember(self, task: str, key: str) -> None:
        """Take what a task put out from kfp's memory of results, a file for each key."""
        for file in self._cache_dir.glob(f"{key}*.json"):
            out = json.loads(file.read_text(encoding="utf-8")).get("out")
            if isinstance(out, dict) and "uri" in out:
                self.outputs[task] = Path(out["uri"])


@contextmanager
def _output_of_kfp_to(log: RunLog) -> Iterator[None]:
    """Send what kfp and its tasks print to `log`, and undo what kfp does to this process's print and logging.

    kfp patches both for the length of a task, and puts them back in the wrong order if tasks overlap.
    """
    root = logging.getLogger()
    handlers, level, original_print = root.handlers[:], root.level, builtins.print
    root.handlers[:] = [logging.StreamHandler(log)]  # between tasks, when kfp says what it takes from its memory
    root.setLevel(logging.INFO)
    with redirect_stdout(log), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You may be attemping to run")  # (sic) no image runs here
        warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
        try:
            yield
        finally:
            builtins.print = original_print
            root.handlers[:] = handlers
            root.setLevel(level)


def _make_whole(cache_dir: Path) -> None:
    """Give metrics the file that kfp looks for before it trusts its memory: they are all metadata, and have none."""
    for entry in cache_dir.glob("*.json"):
        for value in json.loads(entry.read_text(encoding="utf-8")).values():
            if isinstance(value, dict) and str(value.get("schema_title", "")).endswith("Metrics"):
                Path(value["uri"]).touch()


def _digest_code() -> str:
    """Return a digest of what the tasks would run: the sources of the package and of the components."""
    files = sorted(Path(oodtune.__file__).parent.rglob("*.py")) + sorted(Path(components.__file__).parent.glob("*.py"))
    return sha256("".join(filter(None, hash_files(files))).encode()).hexdigest()[:16]


def _describe_failure(error: RuntimeError, log: RunLog) -> str:
    found = FAILED_TASK.search(COLOUR.sub("", str(error)))
    task = found["task"] if found else "pipeline"
    return f"{task}: {log.last_error or 'ended without an error message; it was killed or ran out of memory'}"
