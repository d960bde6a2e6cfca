"""A trial on several nodes: a TrainJob of Kubeflow Trainer, made, followed and explained."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from oodtune.cluster.connection import (
    REQUEST_TIMEOUT_S,
    Cluster,
    cause_of,
    explained,
    is_passing,
    status_of,
)
from oodtune.cluster.diagnosis import list_pods, list_warnings, trouble
from oodtune.cluster.pod_patch import build_patch
from oodtune.config.resources import ResourcesConfig
from oodtune.errors import ClusterError, Stopped, TrainingError

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient
    from kubeflow.trainer.types.types import TrainJob

Say = Callable[[str], None]
Stop = Callable[[], int | None]
"""Returns the number of the signal that asked for an end, if one did."""

GROUP: Final = "trainer.kubeflow.org"
VERSION: Final = "v1alpha1"
PLURAL: Final = "trainjobs"
NEEDS: Final = "Kubeflow Trainer 2"
RUNTIME: Final = "torch-distributed"
"""The runtime that Kubeflow Trainer installs for torchrun: it tells every pod its rank and the first one's address."""
_JOB_LABEL: Final = "jobset.sigs.k8s.io/jobset-name"
_DELETE_TIMEOUT_S: Final = 300


@dataclass(frozen=True)
class Job:
    """What runs on every node, and under which name."""

    name: str
    """It follows from the work, so that whoever wants the same again finds the job that there is."""
    image: str
    arguments: list[str]
    """Of torchrun, on every node."""
    resources: ResourcesConfig
    is_made: Callable[[], bool]
    """Whether what it is to make is there, whole."""


@dataclass
class TrainJobRun:
    """One TrainJob, from its beginning, or from where it is, to its end."""

    cluster: Cluster
    job: Job
    say: Say
    stop: Stop
    poll_s: float = 5.0
    _shown: int = 0
    _state: str = ""

    def run(self) -> None:
        """Make the job, or go on with the one that there is, and wait for its end.

        Raises TrainingError with the words of the trial if it failed by itself, ClusterError if the cluster is at
        fault, and Stopped after a signal. A failed job is kept for its logs until it is run again; one that was
        stopped or did not end in time is deleted.
        """
        client = self._open_client()
        with explained(f"TrainJob {self.job.name}", NEEDS):
            self._begin(client)
            try:
                self._follow(client)
            except Stopped as stopped:
                self._delete()
                raise Stopped(f"{stopped}; TrainJob {self.job.name} is deleted", stopped.exit_code - 128) from None

    def _open_client(self) -> "TrainerClient":
        try:
            from kubeflow.common.types import KubernetesBackendConfig
            from kubeflow.trainer import TrainerClient
        except ModuleNotFoundError as error:
            raise ClusterError(
                f'expected the package kubeflow, found no {error.name}; pip install "oodtune[cluster]"'
            ) from None
        return TrainerClient(
            KubernetesBackendConfig(namespace=self.cluster.namespace, client_configuration=self.cluster.configuration)
        )

    def _begin(self, client: "TrainerClient") -> None:
        """A job that runs, or ran well, is gone on with; one that failed, or is of another kind, makes place."""
        found = self._read()
        if found is not None:
            if self._is_wanted(found):
                self.say(f"TrainJob {self.job.name}: going on with the one that there is")
                return
            self._delete()
            self._wait_until_gone()
        try:
            self._create(client)
        except RuntimeError as error:
            if status_of(error) != 409:  # another task made it just now
                raise
        self.say(f"TrainJob {self.job.name}: made")

    def _create(self, client: "TrainerClient") -> None:
        from kubeflow.trainer import CustomTrainerContainer
        from kubeflow.trainer.options import ActiveDeadlineSeconds, Labels, Name, TrainerArgs, TrainerCommand

        resources, asked = self.job.resources, self.job.resources.request("train")
        # The SDK makes one number of request and limit.
        per_node: dict[str, object] = {"cpu": asked.cpu, "memory": asked.memory_limit or asked.memory}
        if asked.gpus:
            per_node[resources.gpu_type] = asked.gpus
        client.train(
            runtime=RUNTIME,
            trainer=CustomTrainerContainer(
                image=self.job.image,
                num_nodes=resources.nodes,
                resources_per_node=per_node,
                env={"HOME": "/tmp"},  # noqa: S108  (of the pod: the root of its file system is read-only)
            ),
            options=[
                Name(self.job.name),
                Labels({"app.kubernetes.io/name": "oodtune", "app.kubernetes.io/managed-by": "oodtune"}),
                TrainerCommand(["torchrun"]),
                # Without a number, torchrun starts a process per CPU where there is no GPU.
                TrainerArgs([f"--nproc-per-node={max(asked.gpus, 1)}", *self.job.arguments]),
                build_patch(resources),
                ActiveDeadlineSeconds(asked.timeout_s),
            ],
        )

    def _follow(self, client: "TrainerClient") -> None:
        timeout_s = self.job.resources.request("train").timeout_s
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self._look(client)
            if seen is not None:
                self._tell(client, seen)
                if seen.status == "Complete":
                    return
                if seen.status == "Failed":
                    raise self._explain_failure(client)
            number = self.stop()
            if number is not None:
                raise Stopped("training given up", number)
            if time.monotonic() > deadline:
                why = self._explain_pods()
                self._delete()  # a job that waits for a node must not take it later, for nobody
                raise ClusterError(f"TrainJob {self.job.name} did not end within {timeout_s} s ({why}); it is deleted")
            time.sleep(self.poll_s)

    def _look(self, client: "TrainerClient") -> "TrainJob | None":
        """Return None where the cluster does not answer just now: hours of work do not end with one request."""
        try:
            return client.get_job(self.job.name)
        except (RuntimeError, TimeoutError) as error:
            cause = cause_of(error)
            if status_of(error) == 404 and self._read() is None:
                raise ClusterError(f"TrainJob {self.job.name} was deleted while it ran") from None
            if cause is None or not is_passing(cause):
                raise
            return None

    def _tell(self, client: "TrainerClient", seen: "TrainJob") -> None:
        steps = ", ".join(f"{step.name} {step.status}" for step in sorted(seen.steps, key=lambda step: step.name))
        state = f"{seen.status} ({steps})" if steps else str(seen.status)
        if state != self._state:
            self.say(f"TrainJob {self.job.name}: {state}")
            self._state = state
        lines = self._read_log(client)
        if len(lines) < self._shown:  # a new pod, or a log that was rotated
            self._shown = 0
        for line in lines[self._shown :]:
            self.say(line)
        self._shown = len(lines)

    def _read_log(self, client: "TrainerClient") -> list[str]:
        """Return what the first node has said so far: a few lines per snapshot, so that all of it is little."""
        try:
            return list(client.get_job_logs(self.job.name))
        except (RuntimeError, TimeoutError):  # the container is being made, or the pod is gone
            return []

    def _explain_failure(self, client: "TrainerClient") -> Exception:
        name = self.job.name
        errors = [line.partition("error: ")[2] for line in self._read_log(client) if "error: " in line]
        if errors:
            return TrainingError(f"{errors[0]} (TrainJob {name} is kept for its logs)")
        conditions = ((self._read() or {}).get("status") or {}).get("conditions") or []
        told = [": ".join(one[key] for key in ("reason", "message") if one.get(key)) for one in conditions]
        return ClusterError(
            f"TrainJob {name} failed ({'; '.join([self._explain_pods(), *told])}); it is kept for its logs"
        )

    def _explain_pods(self) -> str:
        pods = list_pods(self.cluster, f"{_JOB_LABEL}={self.job.name}")
        reasons = [reason for pod in pods if (reason := trouble(pod)) is not None][:2]
        reasons += list_warnings(self.cluster, [self.job.name, *(pod.metadata.name for pod in pods)])
        return "; ".join(dict.fromkeys(reasons)) or "its pods give no reason"

    def _is_wanted(self, found: dict[str, Any]) -> bool:
        trainer = found["spec"].get("trainer") or {}
        same = (trainer.get("image"), trainer.get("numNodes")) == (self.job.image, self.job.resources.nodes)
        conditions = (found.get("status") or {}).get("conditions") or []
        ended = any(one["type"] in ("Failed", "Complete") and one["status"] == "True" for one in conditions)
        # The end of a job whose work is gone counts for nothing; it may also end between the question and the answer.
        return same and (not ended or self.job.is_made()) and "deletionTimestamp" not in found["metadata"]

    def _read(self) -> dict[str, Any] | None:
        from kubernetes.client import ApiException

        try:
            found: dict[str, Any] = self.cluster.objects.get_namespaced_custom_object(
                GROUP, VERSION, self.cluster.namespace, PLURAL, self.job.name, _request_timeout=REQUEST_TIMEOUT_S
            )
        except ApiException as error:
            if error.status == 404 and "NotFound" in (error.body or ""):  # and the kind is known
                return None
            raise
        return found

    def _delete(self) -> None:
        from kubernetes.client import ApiException

        try:
            self.cluster.objects.delete_namespaced_custom_object(
                GROUP, VERSION, self.cluster.namespace, PLURAL, self.job.name, _request_timeout=REQUEST_TIMEOUT_S
            )
        except ApiException as error:
            if error.status != 404:
                raise

    def _wait_until_gone(self) -> None:
        deadline = time.monotonic() + _DELETE_TIMEOUT_S
        while self._read() is not None:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"TrainJob {self.job.name}: an earlier one is being deleted for {_DELETE_TIMEOUT_S} s; look at its "
                    "pods"
                )
            time.sleep(min(self.poll_s, 1.0))
