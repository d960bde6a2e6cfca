"""Bring a version to the endpoint: write, wait, ask it; or take it back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oodtune.cluster.connection import Cluster, cause_of, explained, is_passing
from oodtune.cluster.diagnosis import is_hopeless, list_pods, list_warnings, trouble
from oodtune.cluster.inference_service import NEEDS, POD_LABEL, Body, Status, build, put_back, read, write
from oodtune.cluster.smoke import SmokeError, ask_model
from oodtune.config.deploy import DeployConfig
from oodtune.errors import ClusterError, Stopped

if TYPE_CHECKING:
    from kubernetes.client import V1Pod

Say = Callable[[str], None]
Stop = Callable[[], int | None]
"""Returns the number of the signal that asked for an end, if one did."""
SMOKE_POLL_S = 0.2


class _FailedError(Exception):
    """The version does not do what it must; the message says why."""


@dataclass(frozen=True)
class Rollout:
    """One version of a model on its way to the endpoint."""

    cluster: Cluster
    config: DeployConfig
    uri: str
    """Of the bundle, as KServe fetches it: s3://..."""
    digest: str
    """What the digest of the bundle begins with."""
    say: Say
    stop: Stop
    poll_s: float = 2.0
    _old_pods: set[str] = field(default_factory=set)

    def run(self) -> str:
        """Return the public address, at which the version answers.

        Raises ClusterError with the reason if it does not, and Stopped after a signal: then what was there before is
        back.
        """
        name = self.config.service
        assert name is not None
        with explained(f"deploying {name}", NEEDS):
            self._old_pods.update(pod.metadata.uid for pod in list_pods(self.cluster, f"{POD_LABEL}={name}"))
            wanted = build(self.config, self.cluster.namespace, self.uri)
            before, written = write(self.cluster, wanted, self.config.canary_percent)
            if before is not None and before["metadata"]["generation"] == written["metadata"]["generation"]:
                self._old_pods.clear()  # nothing changes: the pods that there are count
        self.say(f"{name}: waiting for {self.uri}")
        try:
            with explained(f"waiting for {name}", NEEDS):
                self._wait_until_ready(name, before)
                status = self._wait_for_answer(name)
        except (_FailedError, ClusterError) as error:
            raise ClusterError(f"{name}: {error}; {self._undo(before, written)}") from None
        except Stopped as stopped:
            raise Stopped(f"{name}: {stopped}; {self._undo(before, written)}", stopped.exit_code - 128) from None
        return status.url

    def _wait_until_ready(self, name: str, before: Body | None) -> None:
        deadline = time.monotonic() + self.config.timeout_s
        while True:
            status = self._read(name)
            if status is not None:
                if status.is_ready and status.shows(before):
                    return
                self._give_up_if_hopeless(name, status)
            if time.monotonic() > deadline:
                why = self._explain(name, status) if status is not None else "the cluster does not answer"
                raise _FailedError(f"not ready within {self.config.timeout_s} s ({why})")
            self._pause(self.poll_s)

    def _wait_for_answer(self, name: str) -> Status:
        """Ask until the deployed version answers: pods of the previous one may, for a while, and a canary's share."""
        deadline = time.monotonic() + self.config.smoke_timeout_s
        problem = "it has no address"
        while True:
            status = self._read(name)
            for address in status.addresses(self.cluster.is_inside) if status is not None else []:
                problem = self._ask(address)
                if status is not None and not problem:
                    return status
            if time.monotonic() > deadline:
                raise _FailedError(f"ready, but not answering as it must: {problem}")
            self._pause(SMOKE_POLL_S)

    def _ask(self, address: str) -> str:
        """Return what is wrong with the answer; nothing: ""."""
        try:
            served = ask_model(address)
        except SmokeError as error:
            return str(error)
        is_right = served.startswith(self.digest)
        return "" if is_right else f"{address} serves the model {served[:12]}, expected {self.digest}"

    def _read(self, name: str) -> Status | None:
        """Return None where the cluster does not answer just now."""
        try:
            body = read(self.cluster, name)
        except Exception as error:
            if not _may_pass(error):
                raise
            return None
        if body is None:
            raise _FailedError("it was deleted while it was being deployed")
        return Status(body)

    def _new_pods(self, name: str) -> "list[V1Pod]":
        """Return the pods of this version; none where the cluster does not answer just now."""
        try:
            pods = list_pods(self.cluster, f"{POD_LABEL}={name}")
        except Exception as error:
            if not _may_pass(error):
                raise
            return []
        return [pod for pod in pods if pod.metadata.uid not in self._old_pods]

    def _give_up_if_hopeless(self, name: str, status: Status) -> None:
        if status.invalid is not None:
            raise _FailedError(f"KServe refuses it ({status.invalid})")
        if any(is_hopeless(pod) for pod in self._new_pods(name)):
            raise _FailedError(f"its pod does not start ({self._explain(name, status)})")

    def _explain(self, name: str, status: Status) -> str:
        """Return what is known against it, the most telling first."""
        pods = self._new_pods(name)
        reasons = [reason for pod in reversed(pods) if (reason := trouble(pod)) is not None][:1]
        reasons += [status.failure] if status.failure is not None else []
        reasons += status.complaints[:2]
        reasons += list_warnings(self.cluster, [name, *(pod.metadata.name for pod in pods)])
        return "; ".join(dict.fromkeys(reasons)) or "no reason given"

    def _undo(self, before: Body | None, written: Body) -> str:
        try:
            return put_back(self.cluster, before, written)
        except ClusterError as error:
            return str(error)

    def _pause(self, seconds: float) -> None:
        number = self.stop()
        if number is not None:
            raise Stopped("deployment given up", number)
        time.sleep(seconds)


def _may_pass(error: Exception) -> bool:
    """True for a request that failed where the next one may not: what is being deployed does not end with it."""
    cause = cause_of(error)
    return cause is not None and is_passing(cause)
