"""What a task asks the cluster for."""

from dataclasses import dataclass

from kfp.dsl import PipelineTask


@dataclass(frozen=True)
class Profile:
    """Kubernetes quantities: `cpu` and `memory` are requested, `memory` is also the limit."""

    cpu: str
    memory: str
    gpus: int = 0


CPU = Profile(cpu="2", memory="8Gi")
GPU = Profile(cpu="4", memory="16Gi", gpus=1)


def with_resources(task: PipelineTask, profile: Profile) -> PipelineTask:
    """Give `task` the resources of `profile`. It must be a component's task: kfp refuses it on pipelines."""
    task.set_cpu_request(profile.cpu).set_memory_request(profile.memory).set_memory_limit(profile.memory)
    if profile.gpus:
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(profile.gpus)
    return task
