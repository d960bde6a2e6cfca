"""Why pods do not run, in a few words: what `kubectl describe` would tell."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from oodtune.cluster.connection import REQUEST_TIMEOUT_S, Cluster

if TYPE_CHECKING:
    from kubernetes.client import V1ContainerStatus, V1Pod

HOPELESS: Final = frozenset(
    ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "RunContainerError")
)
"""States that a container does not leave without help."""
CRASH_LOOP: Final = "CrashLoopBackOff"
MAX_RESTARTS: Final = 3
"""A container that crashed this often will crash again."""
WARNINGS_SHOWN: Final = 2


def list_pods(cluster: Cluster, selector: str) -> "list[V1Pod]":
    """Return the pods with these labels, oldest first."""
    found = cluster.core.list_namespaced_pod(
        cluster.namespace, label_selector=selector, _request_timeout=REQUEST_TIMEOUT_S
    )
    return sorted(found.items, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name))


def is_hopeless(pod: "V1Pod") -> bool:
    """True if waiting for the pod is in vain."""
    return any(
        status.state is not None
        and status.state.waiting is not None
        and (
            status.state.waiting.reason in HOPELESS
            or (status.state.waiting.reason == CRASH_LOOP and status.restart_count >= MAX_RESTARTS)
        )
        for status in _container_statuses(pod)
    )


def trouble(pod: "V1Pod") -> str | None:
    """Return why the pod does not run, or did not end well; None if nothing is known against it."""
    for status in _container_statuses(pod):
        reason = _container_trouble(status)
        if reason is not None:
            return f"pod {pod.metadata.name}, container {status.name}: {reason}"
    if pod.status is None:
        return None
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"pod {pod.metadata.name}: {_words(condition.reason, condition.message)}"
    if pod.status.phase == "Failed":  # evicted, or its node is lost
        return f"pod {pod.metadata.name}: {_words(pod.status.reason or 'Failed', pod.status.message)}"
    return None


def list_warnings(cluster: Cluster, names: Iterable[str]) -> list[str]:
    """Return the newest warnings among the events of the objects with these names, newest first.

    Advice only: without the right to list events there are none.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        found = cluster.core.list_namespaced_event(
            cluster.namespace, field_selector="type=Warning", _request_timeout=REQUEST_TIMEOUT_S
        )
    except (ApiException, HTTPError):
        return []
    wanted = set(names)
    events = [event for event in found.items if event.involved_object.name in wanted and event.type == "Warning"]
    events.sort(key=lambda event: str(event.last_timestamp or event.event_time or ""), reverse=True)
    told = dict.fromkeys(f"{event.involved_object.name}: {_words(event.reason, event.message)}" for event in events)
    return list(told)[:WARNINGS_SHOWN]


def _container_statuses(pod: "V1Pod") -> "list[V1ContainerStatus]":
    status = pod.status
    return [*(status.init_container_statuses or []), *(status.container_statuses or [])] if status is not None else []


def _container_trouble(status: "V1ContainerStatus") -> str | None:
    """A container that waits for its next start says why it ended last, too."""
    parts = []
    waiting = status.state.waiting if status.state is not None else None
    if waiting is not None and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
        parts.append(_words(waiting.reason, waiting.message))
    for state in (status.state, status.last_state):
        ended = state.terminated if state is not None else None
        if ended is not None and ended.exit_code != 0:
            parts.append(f"{_words(ended.reason or 'Error', ended.message)} (exit code {ended.exit_code})")
            break
    return ", ".join(parts) or None


def _words(reason: str | None, message: str | None) -> str:
    return ": ".join(" ".join(part.split()) for part in (reason, message) if part)
