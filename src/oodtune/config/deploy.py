"""Settings of the deployed endpoint: one KServe InferenceService."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from oodtune.config.resources import Bytes, Cpu, ObjectName
from oodtune.config.section import Section

# KServe's own rule for the name; Knative puts the namespace and `-predictor-00001` behind it in 63 characters.
ServiceName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]


class DeployConfig(Section):
    service: ServiceName | None = None
    """Name of the InferenceService; null: nothing is deployed."""
    namespace: ObjectName | None = None
    """null: the pod's own, or else that of the kubeconfig's context."""
    image: Annotated[str, Field(min_length=1)] | None = None
    """The serve image, best by digest."""
    service_account: ObjectName | None = None
    """Of the pods: KServe finds the credentials of S3 through its secrets. null: the namespace's default."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """0: no pod without requests, where Knative serves."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    canary_percent: Annotated[int, Field(ge=1, le=99)] | None = None
    """Share of requests that a new version gets beside the previous one, where Knative serves; null: all."""
    cpu: Cpu = "1"
    """Requested and limit; the server runs one worker for each."""
    memory: Bytes = "2Gi"
    """Requested and limit."""
    gpus: Annotated[int, Field(ge=0, le=1)] = 0
    """1: predict on one NVIDIA GPU."""
    timeout_s: Annotated[int, Field(ge=1)] = 600
    """A version that is not ready by then is taken back."""
    smoke_timeout_s: Annotated[int, Field(ge=1)] = 60
    """A ready version that has not answered a request as it must by then is taken back."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.service is not None and self.image is None:
            raise ValueError(f"deploy.image: expected the image that {self.service!r} runs, found null; set it")
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"deploy.max_replicas: expected at least the {self.min_replicas} of min_replicas, "
                f"found {self.max_replicas}"
            )
        return self
