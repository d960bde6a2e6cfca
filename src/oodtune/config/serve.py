"""Settings of the endpoint."""

from typing import Annotated, Literal

from pydantic import Field

from oodtune.config.section import Name, Section

Variant = Literal["fp32", "fp16", "int8"]
"""The precision of a graph."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0.0)]


class ServeConfig(Section):
    host: str = "127.0.0.1"
    port: Port = 8080
    grpc_port: Port | None = None
    """Of the Open Inference Protocol over gRPC; null: HTTP only."""
    metrics_port: Port | None = None
    """/metrics on a port of its own, and not on `port`; null: on `port`."""
    name: Name = "model"
    """What clients call the model."""
    variant: Variant = "fp32"
    """Which graph of the bundle answers; export must have accepted it."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Of one request, also after decompression."""
    max_buffered_bytes: Annotated[int, Field(ge=1024)] = 128 * 1024 * 1024
    """Of all requests that are held at one time; further ones are refused with 503."""
    max_images: Annotated[int, Field(ge=1)] = 128
    """In one request."""
    max_wait_s: Seconds = 1.0
    """What would wait longer for a worker is refused at once with 503: a queue that is bounded by time."""
    timeout_s: Seconds = 10.0
    """What no worker has begun with by then is refused; a request may ask for less."""
    max_batch: Annotated[int, Field(ge=1)] | None = None
    """Images in one run of the model; null: what a measurement at the start finds best."""
    batch_wait_s: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """How long a worker waits for a batch to fill; 0: a moment (0.4 times an image's time), while others are busy."""
    reload_s: Seconds | None = 30.0
    """How often the registry is asked for a new version, where one is served from there; null: never."""
    allow_cpu: bool = False
    """Let the CPU compute where the provider that was asked for does not work."""
    access_log: bool = False
    """A line of JSON for every request, not only for those that failed."""
