"""What the tasks of a run are doing, and what came of them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfp_server_api import V2beta1PipelineTaskDetail, V2beta1Run

from oodtune.progress import Progress, silent
from pipelines.client import Client
from pipelines.connection import UnavailableError

FINAL_STATES = frozenset(("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"))
"""kfp's own wait does not know CANCELED, and would wait on."""


@dataclass(frozen=True)
class Task:
    """A task of a run, as far as it has come."""

    task_id: str
    name: str
    """Its name in the pipeline; the second one of that name is `train-2`, by the order in which they began."""
    state: str
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Failure:
    """A task that failed by itself, not only because of another one within it."""

    task: str
    message: str


@dataclass(frozen=True)
class Patience:
    """How often to look at a run, and for how long."""

    every_s: float = 10.0
    timeout_s: float | None = None
    """None: as long as the run takes."""
    silence_s: float = 600.0
    """How long the cluster may be out of reach."""


def tasks_of(run: V2beta1Run) -> list[Task]:
    """Return the tasks of a run in the order in which they began. What Kubeflow adds is left out unless it failed."""
    counts: dict[str, int] = {}
    tasks = []
    for detail in _in_order(run):
        if _is_internal(detail) and detail.state != "FAILED":
            continue
        base = detail.display_name or detail.task_id
        counts[base] = counts.get(base, 0) + 1
        name = base if counts[base] == 1 else f"{base}-{counts[base]}"
        state = detail.state or "PENDING"
        tasks.append(Task(detail.task_id, name, state, _moment(detail.start_time), _moment(detail.end_time)))
    return tasks


def failures_of(run: V2beta1Run) -> list[Failure]:
    """Return the tasks that failed by themselves, with their last words; the run's own where no task says any."""
    details = _in_order(run)
    own_words = _words(run) or "no message; its log is behind the link"
    failed = [detail for detail in details if detail.state == "FAILED"]
    within = {detail.task_id: [one for one in _below(detail, details) if one.state == "FAILED"] for detail in failed}
    names = {task.task_id: task.name for task in tasks_of(run)}
    failures = []
    for cause in (detail for detail in failed if not within[detail.task_id]):
        around = [one for one in failed if cause in within[one.task_id]]
        named = min(
            (one for one in around if not _is_internal(one)), key=lambda one: len(within[one.task_id]), default=cause
        )
        task = cause if not _is_internal(cause) or _driven(cause) else named
        words = next(filter(None, map(_words, (cause, task))), own_words)
        failures.append(Failure(_driven(task) or names[task.task_id], words))
    return failures


def describe(run: V2beta1Run, link: str) -> dict[str, Any]:
    """Return what a run is doing, as plain data."""
    return {
        "run": run.run_id,
        "name": run.display_name,
        "state": (run.state or "PENDING").lower(),
        "link": link,
        "tasks": [
            {
                "name": one.name,
                "state": one.state.lower(),
                "started": one.started and one.started.isoformat(),
                "ended": one.ended and one.ended.isoformat(),
            }
            for one in tasks_of(run)
        ],
        "failures": [{"task": one.task, "message": one.message} for one in failures_of(run)],
    }


def follow(
    client: Client,
    run_id: str,
    patience: Patience,
    show: Callable[[str], None],
    report: Progress = silent,
) -> V2beta1Run | None:
    """Wait for the end of a run and return it; None if `patience.timeout_s` was not enough.

    `show` gets a line whenever a task is in another state than before; `report` how many tasks are done.
    The run itself is left alone, whatever happens here. Raises ClusterError if the cluster refuses to answer,
    or does not answer for longer than `patience.silence_s`.
    """
    deadline = None if patience.timeout_s is None else time.monotonic() + patience.timeout_s
    shown: dict[str, str] = {}
    for run in _looks(client, run_id, patience, deadline):
        tasks = tasks_of(run)
        for task in tasks:
            if shown.get(task.task_id) != task.state:
                shown[task.task_id] = task.state
                show(f"{task.name}: {task.state.lower()}")
        done = [task for task in tasks if task.state in FINAL_STATES]
        active = [task.name for task in tasks if task.state == "RUNNING"]
        report(len(done), len(tasks), ", ".join(active))
        if run.state in FINAL_STATES:
            return run
    return None


def _looks(client: Client, run_id: str, patience: Patience, deadline: float | None) -> Iterator[V2beta1Run]:
    heard = time.monotonic()
    while True:
        try:
            run = client.get_run(run_id)
        except UnavailableError:
            if time.monotonic() - heard > patience.silence_s:
                raise
        else:
            heard = time.monotonic()
            yield run
        left_s = patience.every_s if deadline is None else min(patience.every_s, deadline - time.monotonic())
        if left_s <= 0:
            return
        time.sleep(left_s)


def _in_order(run: V2beta1Run) -> list[V2beta1PipelineTaskDetail]:
    details = (run.run_details.task_details if run.run_details is not None else None) or []
    return sorted(details, key=lambda one: (_seconds(one.create_time or one.start_time), one.task_id or ""))


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else float("inf")


def _moment(moment: datetime | None) -> datetime | None:
    """Return `moment`, or None for the year 1970, by which Kubeflow says: not yet."""
    return moment if moment is not None and moment.year > 1970 else None


def _is_internal(detail: V2beta1PipelineTaskDetail) -> bool:
    """Whether Kubeflow adds this one to the tasks of the pipeline."""
    name = detail.display_name or ""
    return name in {"root", "executor"} or name.endswith("-driver") or name.startswith("system-")


def _driven(detail: V2beta1PipelineTaskDetail) -> str:
    """Return the name of the task that this one prepares; empty if it prepares none."""
    name = detail.display_name or ""
    return name.removesuffix("-driver") if name.endswith("-driver") else ""


def _below(
    parent: V2beta1PipelineTaskDetail, details: list[V2beta1PipelineTaskDetail]
) -> list[V2beta1PipelineTaskDetail]:
    """Return all tasks within `parent`, however deep."""
    by_key = {key: one for one in details for key in (one.task_id, one.pod_name) if key}
    found: dict[str, V2beta1PipelineTaskDetail] = {}
    waiting = [parent]
    while waiting:
        one = waiting.pop()
        keys = [key for child in one.child_tasks or () for key in (child.task_id, child.pod_name) if key in by_key]
        children = [by_key[key] for key in keys] + [d for d in details if d.parent_task_id == one.task_id]
        new = {child.task_id: child for child in children if child.task_id not in found and child is not parent}
        found |= new
        waiting += new.values()
    return list(found.values())


def _words(holder: V2beta1Run | V2beta1PipelineTaskDetail) -> str:
    """Return what a run or a task says about its failure, as one line."""
    return " ".join(((holder.error.message if holder.error is not None else None) or "").split())
