"""What the settings of `resources` change in the pods of a TrainJob."""

from typing import TYPE_CHECKING, Any, Final

from oodtune.config.resources import ResourcesConfig, TaskRequest

if TYPE_CHECKING:
    from kubeflow.trainer.options.kubernetes import RuntimePatch

NODE: Final = "node"
"""Name of the replicated job, and of its container, in the runtimes that Kubeflow Trainer installs."""
_VOLUME: Final = "shared"
_SHM: Final = "dshm"
_TMP: Final = "tmp"


def build_patch(resources: ResourcesConfig) -> "RuntimePatch":
    """Return the patch of the runtime's pods: volumes, placement, security.

    Kubeflow Trainer refuses environment variables in a patch of the node's container, and its SDK takes only plain
    ones elsewhere: a trial gets no secret, and needs none, as all it reads and writes is on the volume.
    """
    from kubeflow.trainer.options.kubernetes import (
        ContainerPatch,
        JobSetSpecPatch,
        JobSetTemplatePatch,
        JobSpecPatch,
        JobTemplatePatch,
        PodSpecPatch,
        PodTemplatePatch,
        ReplicatedJobPatch,
        RuntimePatch,
        TrainingRuntimeSpecPatch,
    )

    asked = resources.request("train")
    volumes, mounts = _volumes(resources, asked)
    container = ContainerPatch(
        NODE,
        volume_mounts=mounts,
        security_context={
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    )
    pod = PodSpecPatch(
        volumes=volumes,
        containers=[container],
        image_pull_secrets=[{"name": name} for name in resources.image_pull_secrets] or None,
        security_context=_security(resources),
        node_selector=dict(asked.node_selector) or None,
        tolerations=[one.model_dump(mode="json", exclude_none=True) for one in asked.tolerations] or None,
    )
    metadata = {
        key: dict(value)
        for key, value in (("labels", resources.pod_labels), ("annotations", resources.pod_annotations))
        if value
    }
    template = PodTemplatePatch(metadata=metadata or None, spec=pod)
    job = ReplicatedJobPatch(NODE, JobTemplatePatch(spec=JobSpecPatch(template)))
    return RuntimePatch(TrainingRuntimeSpecPatch(JobSetTemplatePatch(spec=JobSetSpecPatch([job]))))


def _volumes(resources: ResourcesConfig, asked: TaskRequest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shared = resources.volume
    assert shared is not None  # several nodes without one are refused when the settings are read
    mount = {"name": _VOLUME, "mountPath": shared.mount_path}
    if shared.sub_path:
        mount["subPath"] = shared.sub_path
    volumes: list[dict[str, Any]] = [
        {"name": _VOLUME, "persistentVolumeClaim": {"claimName": shared.claim}},
        {"name": _TMP, "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [mount, {"name": _TMP, "mountPath": "/tmp"}]  # noqa: S108  (of the pod)
    if asked.shm_size is not None:
        volumes.append({"name": _SHM, "emptyDir": {"medium": "Memory", "sizeLimit": asked.shm_size}})
        mounts.append({"name": _SHM, "mountPath": "/dev/shm"})  # noqa: S108  (of the pod)
    return volumes, mounts


def _security(resources: ResourcesConfig) -> dict[str, Any]:
    """Kubernetes takes `fsGroup` to make the volume writable for the group."""
    context: dict[str, Any] = {"runAsNonRoot": resources.run_as_non_root}
    if resources.run_as_user is not None:
        context["runAsUser"] = resources.run_as_user
    if resources.run_as_group is not None:
        context |= {"runAsGroup": resources.run_as_group, "fsGroup": resources.run_as_group}
    return context
