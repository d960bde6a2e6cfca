"""Trials on an MLflow server, if the environment names one.

Beside serve/settings.py, this alone reads the environment: `MLFLOW_TRACKING_URI`, and MLflow's other variables.
It must never stop training, nor slow it: one thread does all the talking, what the server does not take is sent
again later, and whatever goes wrong is one line.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from oodtune import __version__
from oodtune.artifact import open_artifact
from oodtune.config import StageParams
from oodtune.errors import Stopped
from oodtune.stages.trial_log import named_numbers
from oodtune.trial import Trial, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from oodtune.train.history import Snapshot

VARIABLE: Final = "MLFLOW_TRACKING_URI"
PATIENCE_S = 5.0
"""What the end of a trial waits for the server at most."""
_CAREFUL: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # for 120 seconds nobody would learn that the server does not answer
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # each is a line on stderr; what failed is sent again anyway
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would tell others than the server that was named
}
"""Set where the user has not set them: MLflow takes these from the environment only."""
_KEY_TAG: Final = "oodtune.key"
_MAX_WARNING: Final = 400
_PAUSE_S: Final = 0.5


class Tracking:
    """Tells nobody: what there is without MLflow."""

    def begin(self, notes_dir: Path) -> None:
        """Start a run, or go on with the one that `notes_dir`, kept for a resumed trial, names."""

    def write(self, snapshots: Sequence["Snapshot"]) -> None:
        """Send the snapshots that are not there yet, of all those so far. Does not wait."""

    def finish(self, record: TrialRecord) -> None:
        """Say what became of the trial."""


class _Facts(NamedTuple):
    """What is known of a trial before it begins."""

    trial: Trial
    params: StageParams
    tags: Mapping[str, str]
    out: Path


class _End(NamedTuple):
    status: str
    record: TrialRecord | None
    deadline_s: float
    """Of `time.monotonic`."""


@contextmanager
def open_tracking(
    trial: Trial, params: StageParams, tags: Mapping[str, str], out: Path, say: Callable[[str], None]
) -> Iterator[Tracking]:
    """Yield what tells an MLflow server about a trial, if `MLFLOW_TRACKING_URI` names one.

    `tags` (`init_digest`, `cache_digest`, and what else the bits of the trial depend on) are tags of the run, and
    a run is continued only if they are the same. Open this around the writer of `out`: the run ends with this
    context, and if it ends well, it bears the digest of the trial that is then at `out`. That waits for the server
    PATIENCE_S at most. `say` gets one line if MLflow is not installed, or the first time the server fails.
    """
    uri = os.environ.get(VARIABLE)
    if not uri:
        yield Tracking()
        return
    if find_spec("mlflow") is None:
        say(f"warning: {VARIABLE} is set, but MLflow is not installed; to log there: pip install 'oodtune[mlflow]'")
        yield Tracking()
        return
    tracking = _MlflowTracking(uri, _Facts(trial, params, tags, out), say)
    status = "FAILED"
    try:
        yield tracking
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        tracking.end(status)


class _MlflowTracking(Tracking):
    """Holds the newest snapshots for a thread that brings them to the server: newer ones replace older ones."""

    def __init__(self, uri: str, facts: _Facts, say: Callable[[str], None]) -> None:
        self._uri = uri
        self._facts = facts
        self._say = say
        self._warned = Lock()
        self._news = Event()
        self._snapshots: Sequence[Snapshot] = ()
        self._record: TrialRecord | None = None
        self._end: _End | None = None
        self._thread: Thread | None = None

    def begin(self, notes_dir: Path) -> None:
        for name, value in _CAREFUL.items():  # here: a thread must not change the environment of running C code
            os.environ.setdefault(name, value)
        tags = _tags(self._facts)
        run = _Run(self._uri, self._facts, {**tags, _KEY_TAG: self._find_key(notes_dir / ".mlflow", tags)})
        # A daemon: Python would wait for any other thread, and so for the server, before it exits.
        self._thread = Thread(target=self._work, args=(run,), name="mlflow", daemon=True)
        self._thread.start()
        self._news.set()

    def write(self, snapshots: Sequence["Snapshot"]) -> None:
        self._snapshots = tuple(snapshots)
        self._news.set()

    def finish(self, record: TrialRecord) -> None:
        self._record = record

    def end(self, status: str) -> None:
        """Have the run end with `status`. Waits PATIENCE_S at most."""
        if self._thread is None:
            return
        self._end = _End(status, self._record, time.monotonic() + PATIENCE_S)
        self._news.set()
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self._warn(f"it has not answered within {PATIENCE_S:g} s")

    def _work(self, run: "_Run") -> None:
        while True:
            self._news.wait()
            self._news.clear()
            end = self._end  # before the snapshots: after the end there are no new ones
            brought = self._bring(run, end)
            if end is not None:
                if brought or time.monotonic() > end.deadline_s:
                    return
                time.sleep(_PAUSE_S)
                self._news.set()

    def _bring(self, run: "_Run", end: _End | None) -> bool:
        try:
            run.bring(self._snapshots, end)
        except Exception as error:  # noqa: BLE001  nothing that MLflow and its server raise may stop training
            self._warn(str(error) or type(error).__name__)
            return False
        return True

    def _find_key(self, path: Path, tags: Mapping[str, str]) -> str:
        """Return what names the run: the key in the file `path`, or a new one if that is of another trial."""
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            if noted["tags"] == tags:
                return str(noted["key"])
        except (OSError, ValueError, TypeError, KeyError):
            pass  # there is none yet, or the machine went down while it was written
        key = uuid4().hex
        try:
            path.write_text(json.dumps({"key": key, "tags": tags}), encoding="utf-8")
        except OSError as error:
            self._warn(str(error))
        return key

    def _warn(self, problem: str) -> None:
        """Say it, the first time only. A password in an address is left out."""
        if not self._warned.acquire(blocking=False):
            return
        text = re.sub(r"//[^/@\s]*@", "//", " ".join(f"MLflow at {self._uri}: {problem}".split()))
        self._say(
            f"warning: {text[:_MAX_WARNING]}; no matter for training, but numbers may be late or missing there; "
            "log.tsv of the trial has them all"
        )


class _Run:
    """One trial on the server. Used by one thread only."""

    def __init__(self, uri: str, facts: _Facts, tags: Mapping[str, str]) -> None:
        self._uri = uri
        self._facts = facts
        self._tags = tags
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._steps: set[int] = set()
        """Steps that the server has."""

    def bring(self, snapshots: Sequence["Snapshot"], end: _End | None) -> None:
        """Send what the server has not. Raises whatever MLflow raises; the next call asks anew what it has."""
        try:
            client = self._client or self._open()
            for snapshot in snapshots:
                if snapshot.step not in self._steps:
                    self._send_numbers(client, snapshot.step, named_numbers(snapshot))
                    self._steps.add(snapshot.step)
            if end is not None:
                self._send_end(client, end)
        except Exception:
            self._client = None
            raise

    def _open(self) -> "MlflowClient":
        """Find the run, or create it, and learn which steps it has."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient(self._uri)
        experiment = _find_experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or "oodtune")
        # By a tag and not by the id of the run: the answer that names the id may get lost.
        found = client.search_runs([experiment], f"tags.`{_KEY_TAG}` = '{self._tags[_KEY_TAG]}'", max_results=1)
        if found:
            self._run_id = found[0].info.run_id
            client.update_run(self._run_id, status="RUNNING")
            self._steps = {one.step for one in client.get_metric_history(self._run_id, "source_accuracy")}
        else:
            run = client.create_run(experiment, run_name=self._facts.trial.name, tags=dict(self._tags))
            self._run_id, self._steps = run.info.run_id, set()
        settings = {"trial": self._facts.trial.model_dump(mode="json"), **self._facts.params.model_dump(mode="json")}
        client.log_batch(self._run_id, params=[Param(name, text) for name, text in _flatten(settings)])
        self._client = client
        return client

    def _send_numbers(self, client: "MlflowClient", step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now_ms, step) for name, value in numbers.items() if name != "step"]
        # The last one tells that all are there: a store may have taken a part of a batch only.
        metrics.sort(key=lambda metric: metric.key == "source_accuracy")
        client.log_batch(self._run_id, metrics=metrics)

    def _send_end(self, client: "MlflowClient", end: _End) -> None:
        if end.record is not None:
            kept = {"best_step": float(end.record.best_step), "kept_source_accuracy": end.record.source_accuracy}
            self._send_numbers(client, end.record.best_step, kept)
        if end.status == "FINISHED":
            digest = open_artifact(self._facts.out, "trial", verify=False).digest
            client.set_tag(self._run_id, "oodtune.trial_digest", digest)
        client.set_terminated(self._run_id, end.status)


def _tags(facts: _Facts) -> dict[str, str]:
    tags = {"version": __version__, "trial": facts.trial.name, **facts.tags}
    return {f"oodtune.{name}": text for name, text in tags.items()}


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and values, spelt as in JSON but for text."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _find_experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment, which is created if need be; another trial may do that at the same time."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)
