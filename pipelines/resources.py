"""What a task asks the cluster for and is given there, by the section `resources` of params.yaml."""

from kfp import dsl, kubernetes
from kfp.dsl import PipelineTask

from oodtune.config.resources import ResourcesConfig, TaskKind, TaskRequest

S3_SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SCRATCH_DIR = "/tmp"  # noqa: S108 (a volume of the pod's own; kfp's entry point makes its folder there, too)


def with_resources(task: PipelineTask, resources: ResourcesConfig, kind: TaskKind) -> PipelineTask:
    """Give `task` what tasks of `kind` get in a cluster. It must be a component's task: kfp refuses it on pipelines.

    Not for local runs: kfp's local runner ignores most of it, but would set HOME and wait between retries.
    """
    request = resources.request(kind)
    if kind == "train" and resources.nodes > 1:  # this pod waits for the TrainJob, whose pods get the GPUs
        request = resources.request("light").model_copy(update={"timeout_s": request.timeout_s})
    _ask_for_hardware(task, request, resources)
    _choose_node(task, request)
    _mount_folders(task, request, resources)
    _give_credentials(task, resources)
    _describe_pod(task, resources)
    _bound_attempts(task, request, resources)
    return task


def pipeline_config(resources: ResourcesConfig) -> dsl.PipelineConfig:
    """Return what holds for a run as a whole."""
    return dsl.PipelineConfig(
        active_deadline_seconds=resources.run_deadline_s, ttl_seconds_after_finished=resources.run_ttl_s
    )


def _ask_for_hardware(task: PipelineTask, request: TaskRequest, resources: ResourcesConfig) -> None:
    task.set_cpu_request(request.cpu).set_memory_request(request.memory)
    # Without a limit of CPUs, every pod would start as many threads as its node has cores.
    task.set_cpu_limit(request.cpu_limit or request.cpu).set_memory_limit(request.memory_limit or request.memory)
    if request.gpus:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(request.gpus)


def _choose_node(task: PipelineTask, request: TaskRequest) -> None:
    for key, value in sorted(request.node_selector.items()):
        kubernetes.add_node_selector(task, key, value)
    for taint in request.tolerations:
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)


def _mount_folders(task: PipelineTask, request: TaskRequest, resources: ResourcesConfig) -> None:
    """Mount the shared volume, /dev/shm, and a scratch folder: all that a non-root user can write to."""
    kubernetes.empty_dir_mount(task, "oodtune-scratch", SCRATCH_DIR)
    task.set_env_variable("HOME", SCRATCH_DIR)
    for name in ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
        task.set_env_variable(name, f"{SCRATCH_DIR}/cache/{name.removesuffix('_HOME').lower()}")
    if request.shm_size is not None:
        kubernetes.empty_dir_mount(task, "oodtune-shm", "/dev/shm", "Memory", request.shm_size)  # noqa: S108
    if (volume := resources.volume) is not None:
        kubernetes.mount_pvc(task, volume.claim, volume.mount_path, volume.sub_path)


def _give_credentials(task: PipelineTask, resources: ResourcesConfig) -> None:
    if resources.s3_secret is not None:
        keys = resources.s3_secret_keys or {name: name for name in S3_SECRET_KEYS}
        kubernetes.use_secret_as_env(task, resources.s3_secret, dict(sorted(keys.items())))
    if resources.s3_endpoint_url is not None:
        task.set_env_variable("AWS_ENDPOINT_URL", resources.s3_endpoint_url)
    kubernetes.set_image_pull_policy(task, resources.image_pull_policy)
    if resources.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(resources.image_pull_secrets))


def _describe_pod(task: PipelineTask, resources: ResourcesConfig) -> None:
    kubernetes.set_security_context(task, resources.run_as_user, resources.run_as_group, resources.run_as_non_root)
    for key, value in sorted((resources.pod_labels or {}).items()):
        kubernetes.add_pod_label(task, key, value)
    for key, value in sorted((resources.pod_annotations or {}).items()):
        kubernetes.add_pod_annotation(task, key, value)


def _bound_attempts(task: PipelineTask, request: TaskRequest, resources: ResourcesConfig) -> None:
    kubernetes.set_timeout(task, request.timeout_s)
    if resources.retries:
        # Backends up to 2.17 ignore this for tasks in a ParallelFor (kubeflow/pipelines 13897): a lost trial
        # fails there, and its next run goes on from its checkpoint.
        task.set_retry(
            resources.retries,
            backoff_duration=f"{resources.retry_wait_s}s",
            backoff_factor=resources.retry_wait_factor,
            backoff_max_duration=f"{resources.retry_for_s}s",
        )
