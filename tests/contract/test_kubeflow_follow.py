"""How a run in a cluster is followed."""

from typing import Any

import pytest

from pipelines.connection import (
    UnavailableError,
)
from pipelines.follow import Patience, failures_of, follow, tasks_of
from tests.fixtures.kubeflow import StubbedKubeflow, client_of, run_of, task


def followed(kubeflow: StubbedKubeflow, *script: dict[str, Any], **patience: Any) -> tuple[str | None, list[str]]:
    kubeflow.reset(script=list(script))
    lines: list[str] = []
    run = follow(client_of(kubeflow), "r1", Patience(every_s=0.01, **patience), lines.append)
    return (None if run is None else run.state), lines


def test_following_shows_each_state_of_a_task_once(kubeflow: StubbedKubeflow) -> None:
    first = run_of("RUNNING", task("prepare", "RUNNING"))
    second = run_of(
        "RUNNING", task("prepare", "SUCCEEDED"), task("train.1", "RUNNING", 1), task("train.2", "PENDING", 1)
    )
    last = run_of(
        "SUCCEEDED", task("prepare", "SUCCEEDED"), task("train.1", "SUCCEEDED", 1), task("train.2", "SKIPPED", 1)
    )
    state, lines = followed(kubeflow, first, first, second, last)
    assert state == "SUCCEEDED"
    assert lines == [
        "prepare: running",
        "prepare: succeeded",
        "train: running",
        "train-2: pending",
        "train: succeeded",
        "train-2: skipped",
    ]


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_every_end_of_a_run_ends_the_wait(kubeflow: StubbedKubeflow, state: str) -> None:
    assert followed(kubeflow, run_of("CANCELING"), run_of(state))[0] == state


def test_waiting_ends_at_its_limit(kubeflow: StubbedKubeflow) -> None:
    assert followed(kubeflow, run_of("RUNNING"), timeout_s=0.05)[0] is None


def test_a_short_outage_does_not_end_the_wait(kubeflow: StubbedKubeflow) -> None:
    outage = {"path": "GET .*/runs/", "status": 503, "times": 7}  # more than one look tries
    kubeflow.reset(script=[run_of("SUCCEEDED")], faults=[outage])
    run = follow(client_of(kubeflow), "r1", Patience(every_s=0.01), print)
    assert run is not None
    kubeflow.reset(script=[run_of("SUCCEEDED")], faults=[{**outage, "times": 999}])
    with pytest.raises(UnavailableError):
        follow(client_of(kubeflow), "r1", Patience(every_s=0.01, silence_s=0.1), print)


def test_what_kubeflow_adds_to_the_tasks_is_not_shown(kubeflow: StubbedKubeflow) -> None:
    added = [
        task(name, "SUCCEEDED") for name in ("root", "root-driver", "train-driver", "executor", "system-dag-driver")
    ]
    assert followed(kubeflow, run_of("SUCCEEDED", *added, task("train", "SUCCEEDED")))[1] == ["train: succeeded"]


def test_the_task_that_failed_is_named_and_not_those_around_it(kubeflow: StubbedKubeflow) -> None:
    tasks = [
        task("oodtune-sweep-x7", "FAILED", child_tasks=[{"pod_name": "pod-loop"}], error={"message": "child failed"}),
        task(
            "for-loop-1", "FAILED", 1, pod_name="pod-loop", child_tasks=[{"task_id": "train.1"}, {"task_id": "train.2"}]
        ),
        task("train.1", "SUCCEEDED", 2),
        task("train.2", "FAILED", 2),
        task("executor.2", "FAILED", 3, parent_task_id="train.2", error={"message": "out of\nmemory"}),
    ]
    kubeflow.reset(script=[run_of("FAILED", *tasks)])
    run = client_of(kubeflow).get_run("r1")
    assert [(one.task, one.message) for one in failures_of(run)] == [("train-2", "out of memory")]


def test_a_task_that_could_not_begin_is_named(kubeflow: StubbedKubeflow) -> None:
    tasks = [
        task("oodtune-sweep-x7", "FAILED", child_tasks=[{"task_id": "train-driver"}]),
        task("train-driver", "FAILED", error={"message": "no quota"}),
    ]
    kubeflow.reset(script=[run_of("FAILED", *tasks)])
    assert [(one.task, one.message) for one in failures_of(client_of(kubeflow).get_run("r1"))] == [
        ("train", "no quota")
    ]


def test_a_failure_without_words_takes_those_of_the_run(kubeflow: StubbedKubeflow) -> None:
    kubeflow.reset(script=[run_of("FAILED", task("train", "FAILED"), error={"message": "deadline exceeded"})])
    assert failures_of(client_of(kubeflow).get_run("r1"))[0].message == "deadline exceeded"


def test_a_run_that_has_not_begun_has_no_tasks(kubeflow: StubbedKubeflow) -> None:
    kubeflow.reset(script=[{"state": "PENDING"}])
    assert tasks_of(client_of(kubeflow).get_run("r1")) == []
