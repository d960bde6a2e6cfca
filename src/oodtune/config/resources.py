"""Settings of the pods that a pipeline runs in: what they ask the cluster for, and what they are given."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from oodtune.config.section import Section

ProfileName = Literal["cpu", "gpu", "gpu-multi"]
TaskKind = Literal["light", "network", "train"]
"""`light`: runs no network, or one on few images (prepare, cache, plan, select, export, publish, report);
`network`: runs networks over whole splits (init, combine, evaluate); `train`: a trial."""

TASK_KINDS: tuple[TaskKind, ...] = ("light", "network", "train")
_BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}
_MOUNTS = frozenset(("tmp", "dev", "kfp-launcher", "gcs", "s3", "minio", ".cache", ".config", ".local"))
"""What pipelines/resources.py and Kubeflow mount."""
_SYSTEM = frozenset(("bin", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr"))


def _matching(pattern: str, expected: str) -> AfterValidator:
    return AfterValidator(_matcher(re.compile(pattern, re.ASCII), expected))


def _matcher(pattern: re.Pattern[str], expected: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise PydanticCustomError("unlike", "expected {expected}", {"expected": expected})
        return text

    return check


Cpu = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    _matching(r"[1-9]\d*m?|0\.\d*[1-9]\d*|[1-9]\d*\.\d+", "a number of CPUs such as 4, 0.5 or 500m"),
]
Bytes = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    # kfp takes "K" as well, which Kubernetes does not; a bare number would be bytes, which nobody means
    _matching(rf"[1-9]\d*({'|'.join(_BYTES)})", "an amount of memory with its unit, such as 16Gi or 500Mi"),
]
ObjectName = Annotated[
    str, _matching(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "the name of a Kubernetes object (a-z, 0-9, '-', '.')")
]
LabelKey = Annotated[
    str,
    _matching(
        r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?",
        "the key of a label, such as pool or example.com/pool",
    ),
]
LabelValue = Annotated[str, _matching(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", "the value of a label")]
SecretKey = Annotated[str, _matching(r"[-\w.]+", "a key of the secret (letters, digits, '-', '_', '.')")]
EnvName = Annotated[str, _matching(r"[A-Za-z_]\w*", "the name of an environment variable")]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
Labels = dict[LabelKey, LabelValue]
UserId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Toleration(Section):
    """A taint of nodes that does not keep a pod away."""

    key: LabelKey | None = None
    """null: every taint; with the operator Exists only."""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """null: every effect."""

    @model_validator(mode="after")
    def _operator_has_what_it_compares(self) -> Self:
        found = f"found operator {self.operator}, key {self.key!r}, value {self.value!r}"
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(f"a toleration that Exists has no value; {found}; remove it or write Equal")
        if self.operator == "Equal" and (self.key is None or self.value is None):
            raise ValueError(f"a toleration that is Equal needs a key and a value; {found}; set both or write Exists")
        return self


class VolumeConfig(Section):
    """A PersistentVolumeClaim that every task mounts; ReadWriteMany if pods run on several nodes.

    The user of the pods must be able to write there: Kubeflow Pipelines sets no fsGroup.
    """

    # Kubeflow names the pod's volume after its claim, and a volume's name has no dots.
    claim: Annotated[str, _matching(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "the name of a claim (a-z, 0-9, '-')")]
    mount_path: str = "/mnt/oodtune"
    """Absolute; a folder of its own."""
    sub_path: str = ""
    """The part of the volume that is mounted; empty: all."""

    @model_validator(mode="after")
    def _paths_are_of_their_kind(self) -> Self:
        path = PurePosixPath(self.mount_path)
        if str(path) != self.mount_path or not path.is_absolute() or len(path.parts) < 2 or ".." in path.parts:
            raise ValueError(
                f"resources.volume.mount_path: expected an absolute path such as /mnt/oodtune, "
                f"found {self.mount_path!r}"
            )
        if path.parts[1] in _MOUNTS | _SYSTEM:
            raise ValueError(
                f"resources.volume.mount_path: /{path.parts[1]} is taken by the image, by Kubeflow or by oodtune, "
                f"found {self.mount_path!r}; choose another, such as /mnt/oodtune"
            )
        if self.sub_path.startswith("/") or ".." in self.sub_path.split("/"):
            raise ValueError(
                f"resources.volume.sub_path: expected a path inside the volume, found {self.sub_path!r}; "
                f"write it without a leading / and without .."
            )
        return self


class TaskConfig(Section):
    """What tasks of one kind ask for instead of what the profile says; null: what it says."""

    cpu: Cpu | None = None
    """Requested; oodtune starts as many threads as `cpu_limit` allows."""
    cpu_limit: Cpu | None = None
    """null: what is requested."""
    memory: Bytes | None = None
    """Requested."""
    memory_limit: Bytes | None = None
    """null: what is requested."""
    shm_size: Bytes | None = None
    """Largest /dev/shm; what is used of it counts as memory."""
    timeout_s: Seconds | None = None
    """Of one attempt, from the start of its pod."""
    node_selector: Labels | None = None
    """Labels a node must have, beside `gpu_node_selector`; null: none."""
    tolerations: tuple[Toleration, ...] = ()
    """Beside `gpu_tolerations`."""


class TaskRequest(Section):
    """What the tasks of one kind ask for, all told."""

    cpu: Cpu
    memory: Bytes
    timeout_s: Seconds
    gpus: int = 0
    cpu_limit: Cpu | None = None
    memory_limit: Bytes | None = None
    shm_size: Bytes | None = None
    node_selector: Labels = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()


_LIGHT = TaskRequest(cpu="2", memory="8Gi", timeout_s=4 * 3600)
PROFILES: dict[ProfileName, dict[TaskKind, TaskRequest]] = {
    "cpu": {
        "light": _LIGHT,
        "network": TaskRequest(cpu="4", memory="16Gi", timeout_s=24 * 3600),
        "train": TaskRequest(cpu="4", memory="16Gi", timeout_s=72 * 3600),
    },
    "gpu": {
        "light": _LIGHT,
        "network": TaskRequest(cpu="4", memory="16Gi", timeout_s=8 * 3600, gpus=1, shm_size="1Gi"),
        "train": TaskRequest(cpu="4", memory="16Gi", timeout_s=24 * 3600, gpus=1, shm_size="1Gi"),
    },
    "gpu-multi": {
        "light": _LIGHT,
        "network": TaskRequest(cpu="4", memory="16Gi", timeout_s=8 * 3600, gpus=1, shm_size="1Gi"),
        "train": TaskRequest(cpu="16", memory="64Gi", timeout_s=24 * 3600, gpus=4, shm_size="8Gi"),
    },
}
"""What each kind of task asks for. Those of the kind `network` run one network at a time: one GPU is enough."""


class ResourcesConfig(Section):
    """Where and how the tasks of a pipeline run in a cluster; without effect on this machine."""

    profile: ProfileName = "gpu"
    """Without GPUs; one GPU a trial; several GPUs a trial, by torchrun in its pod."""
    gpus: Annotated[int, Field(ge=1, le=64)] | None = None
    """Of a trial, on each node, with the profile gpu-multi; null: 4."""
    gpu_type: Annotated[str, _matching(r"[a-z0-9][-a-z0-9.]*/[-\w.]+", "a resource such as nvidia.com/gpu")] = (
        "nvidia.com/gpu"
    )
    """The resource's name; a taint of this name is tolerated by tasks that ask for a GPU."""
    gpu_node_selector: Labels | None = None
    """Labels that a node must have to run a task that asks for a GPU; null: none."""
    gpu_tolerations: tuple[Toleration, ...] = ()
    """Further taints that do not keep tasks with a GPU away."""
    tasks: dict[TaskKind, TaskConfig] | None = None
    """What tasks of the kinds `light`, `network` and `train` ask for; null: what the profile says."""
    parallelism: Annotated[int, Field(ge=1, le=1000)] = 4
    """Trials at a time; fixed when the pipeline is compiled."""
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Of a trial. Several: a TrainJob of Kubeflow Trainer instead of a pod, with the trial on `volume`."""
    volume: VolumeConfig | None = None
    """For data sets and checkpoints; null: none, a trial whose pod is lost starts again."""
    s3_secret: ObjectName | None = None
    """Kubernetes secret with the credentials of S3; null: what the service account may do."""
    s3_secret_keys: Annotated[dict[SecretKey, EnvName], Field(min_length=1)] | None = None
    """Key of the secret -> environment variable; null: its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    s3_endpoint_url: Annotated[str, Field(pattern=r"^https?://[^/]")] | None = None
    """Address of the S3 service, as AWS_ENDPOINT_URL; null: Amazon's."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    service_account: ObjectName | None = None
    """Of the run, given when it is submitted: it is no part of the compiled pipeline. null: Kubeflow's default."""
    run_as_user: UserId | None = None
    """null: the image's, a number."""
    run_as_group: UserId | None = None
    """null: the image's."""
    run_as_non_root: bool = True
    """Refuse to start a container as root."""
    pod_labels: Labels | None = None
    pod_annotations: dict[LabelKey, str] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """Of a task that failed or whose node was lost."""
    retry_wait_s: Annotated[int, Field(ge=0, le=86400)] = 60
    """Before the first retry."""
    retry_wait_factor: Annotated[float, Field(ge=1.0, le=100.0)] = 2.0
    """Each wait is so many times the last."""
    retry_for_s: Seconds = 7 * 24 * 3600
    """No retry starts later than this after the first attempt did: more than the longest `timeout_s`."""
    run_deadline_s: Seconds | None = None
    """A run that lasts longer is ended; null: none."""
    run_ttl_s: Seconds | None = None
    """A finished run's pods are deleted after so long; null: as the cluster is set up."""

    def request(self, kind: TaskKind) -> TaskRequest:
        """Return what tasks of `kind` ask for: the profile, changed by the fields that are set here."""
        profile = PROFILES[self.profile][kind]
        own = (self.tasks or {}).get(kind, TaskConfig())
        gpus = self.gpus if kind == "train" and self.gpus else profile.gpus
        changes = own.model_dump(exclude={"node_selector", "tolerations"}, exclude_none=True)
        taints: tuple[Toleration, ...] = ()
        labels: Labels = {}
        if gpus:
            taints = (Toleration(key=self.gpu_type, operator="Exists"), *self.gpu_tolerations)
            labels = self.gpu_node_selector or {}
        changes |= {
            "gpus": gpus,
            "node_selector": labels | (own.node_selector or {}),
            "tolerations": taints + own.tolerations,
        }
        return profile.model_copy(update=changes)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.gpus is not None and self.profile != "gpu-multi":
            raise ValueError(f"resources.gpus belongs to the profile gpu-multi, found profile {self.profile}")
        if self.gpus == 1:
            raise ValueError("resources.gpus: expected 2 or more with the profile gpu-multi, found 1; choose gpu")
        if self.nodes > 1 and self.volume is None:
            raise ValueError(
                f"resources.nodes: the pods of a trial on {self.nodes} nodes share a folder, found no volume; "
                f"set resources.volume, or 1 node"
            )
        if self.run_as_non_root and self.run_as_user == 0:
            raise ValueError("resources.run_as_user is 0, which is root: set another, or run_as_non_root: false")
        if self.s3_secret_keys is not None and self.s3_secret is None:
            raise ValueError("resources.s3_secret_keys are keys of resources.s3_secret: set that, too, or neither")
        address = urlsplit(self.s3_endpoint_url or "")
        if address.username or address.password:
            raise ValueError("resources.s3_endpoint_url holds credentials: put them into the secret s3_secret")
        for kind in TASK_KINDS:
            _check_limits(kind, self.request(kind))
        return self


def _check_limits(kind: TaskKind, asked: TaskRequest) -> None:
    at = f"resources.tasks.{kind}"
    if _count_cpus(asked.cpu_limit or asked.cpu) < _count_cpus(asked.cpu):
        raise ValueError(f"{at}.cpu_limit: expected at least the {asked.cpu} requested, found {asked.cpu_limit}")
    limit = asked.memory_limit or asked.memory
    if _count_bytes(limit) < _count_bytes(asked.memory):
        raise ValueError(f"{at}.memory_limit: expected at least the {asked.memory} requested, found {limit}")
    if asked.shm_size is not None and _count_bytes(asked.shm_size) > _count_bytes(limit):
        raise ValueError(
            f"{at}.shm_size: it counts as memory, expected at most the limit of {limit}, found {asked.shm_size}"
        )


def _count_cpus(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _count_bytes(quantity: str) -> int:
    number = quantity.rstrip("KMGTi")
    return int(number) * _BYTES[quantity.removeprefix(number)]
