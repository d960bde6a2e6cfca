from typing import Any

import pytest
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodCondition,
    V1PodStatus,
)

from oodtune.cluster.diagnosis import is_hopeless, trouble


def pod(**status: Any) -> V1Pod:
    return V1Pod(metadata=V1ObjectMeta(name="p"), status=V1PodStatus(**status))


def container(name: str, restarts: int = 0, **states: Any) -> V1ContainerStatus:
    return V1ContainerStatus(name=name, image="i", image_id="", ready=False, restart_count=restarts, **states)


def waiting(reason: str, message: str | None = None) -> V1ContainerState:
    return V1ContainerState(waiting=V1ContainerStateWaiting(reason=reason, message=message))


def ended(reason: str, code: int) -> V1ContainerState:
    return V1ContainerState(terminated=V1ContainerStateTerminated(reason=reason, exit_code=code))


def test_a_pod_that_runs_or_starts_is_in_no_trouble() -> None:
    assert trouble(pod(phase="Running", container_statuses=[container("c", state=ended("Completed", 0))])) is None
    assert trouble(pod(phase="Pending", container_statuses=[container("c", state=waiting("PodInitializing"))])) is None
    assert trouble(V1Pod(metadata=V1ObjectMeta(name="p"))) is None


def test_a_crash_loop_is_told_with_how_it_ended_last() -> None:
    crashed = container("c", 4, state=waiting("CrashLoopBackOff"), last_state=ended("OOMKilled", 137))
    text = trouble(pod(container_statuses=[crashed]))
    assert text == "pod p, container c: CrashLoopBackOff, OOMKilled (exit code 137)"


def test_a_model_that_cannot_be_fetched_is_told_by_the_first_container() -> None:
    fetch = container("storage-initializer", state=ended("Error", 1))
    server = container("kserve-container", state=waiting("PodInitializing"))
    text = trouble(pod(init_container_statuses=[fetch], container_statuses=[server]))
    assert text == "pod p, container storage-initializer: Error (exit code 1)"


def test_a_pod_without_a_node_and_one_that_was_evicted_say_so() -> None:
    unplaced = V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="0/3\nnodes")
    assert trouble(pod(phase="Pending", conditions=[unplaced])) == "pod p: Unschedulable: 0/3 nodes"
    assert trouble(pod(phase="Failed", reason="Evicted", message="disk")) == "pod p: Evicted: disk"


@pytest.mark.parametrize(
    ("reason", "restarts", "in_vain"),
    [
        ("ImagePullBackOff", 0, True),
        ("ErrImagePull", 0, False),
        ("CrashLoopBackOff", 1, False),
        ("CrashLoopBackOff", 3, True),
    ],
)
def test_waiting_ends_only_where_it_is_in_vain(reason: str, restarts: int, in_vain: bool) -> None:
    assert is_hopeless(pod(container_statuses=[container("c", restarts, state=waiting(reason))])) is in_vain
