"""One trial of a plan, as a task of a cluster trains it: settings in one text, several processes, failures recorded."""

import sys
from collections.abc import Callable
from pathlib import Path

from oodtune.artifact import open_artifact
from oodtune.config import StageParams
from oodtune.errors import Stopped, TrainingError
from oodtune.stages import train
from oodtune.stages.failures import record_failure
from oodtune.stages.processes import run_processes
from oodtune.stages.shared import make_shared
from oodtune.trial import Trial, TrialRecord

LogMetric = Callable[[str, float], None]
"""Called with the name and the value of what the cluster's page shows of a trial."""


class PlannedTrial(StageParams):
    """A trial and its settings in one text, as the items of a Kubeflow loop must be."""

    trial: Trial
    params: train.Params


def run(
    cache: Path | str,
    init: Path | str,
    out: Path | str,
    item: str,
    shared_dir: Path | str = "",
    processes: int = 1,
    device: str = "auto",
    metrics: LogMetric = lambda name, value: None,
) -> None:
    """Train the trial that `plan.run` described as `item`: a `trial`, in `shared_dir` if there is one.

    On a shared volume a task that was killed is gone on with from its newest checkpoint. With `processes`, torchrun
    trains with so many, each on a GPU of its own. A trial that cannot go on (TrainingError) leaves its reason in
    `out` in place of weights, and what compares the trials goes on without it. If a signal stops it, exits as the
    command line does.
    """
    planned = PlannedTrial.from_json(item)

    def make(place: Path) -> None:
        if processes > 1:
            run_processes(processes, device, cache, init, place, item)
        else:
            train.run(cache, init, place, planned.params, planned.trial, device)

    keep_trial(planned, cache, init, out, shared_dir, metrics, make)


def keep_trial(
    planned: PlannedTrial,
    cache: Path | str,
    init: Path | str,
    out: Path | str,
    shared_dir: Path | str,
    metrics: LogMetric,
    make: Callable[[Path], None],
) -> None:
    """Make the trial with `make(path)` unless it is there; record why if it cannot be; exit if a signal stops it."""
    made_from = {
        "item": planned.to_json(),
        "cache": open_artifact(Path(cache), "cache", verify=False).digest,
        "init": open_artifact(Path(init), "init", verify=False).digest,
    }
    try:
        make_shared(Path(out), "trial", made_from, make, shared_dir, name=planned.trial.name)
    except TrainingError as error:
        print(f"failed: {planned.trial.name}: {error}", file=sys.stderr)
        record_failure(Path(out), planned.trial.name, str(error))
        metrics("failed", 1.0)
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    else:
        _tell(Path(out), metrics)


def _tell(out: Path, metrics: LogMetric) -> None:
    record = TrialRecord.model_validate(open_artifact(out, "trial", verify=False).details)
    metrics("failed", 0.0)
    metrics("source_out_split_accuracy", record.source_accuracy)
    metrics("best_step", float(record.best_step))
