"""Settings of what follows training: selection, export, serving, the report."""

from typing import Annotated, Literal

from pydantic import Field

from oodtune.config.section import Name, Section


class SelectConfig(Section):
    rule: Literal["source_out_split"] = "source_out_split"
    """Highest mean accuracy on the source out-splits; it never sees the target domain."""
    target_domain: Name
    """The model that ships is chosen among those trained without this domain."""


class ExportConfig(Section):
    max_abs_difference: Annotated[float, Field(gt=0.0)] = 0.0001
    """Largest difference of any logit between torch and ONNX Runtime that export accepts."""


class ServeConfig(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    max_waiting: Annotated[int, Field(ge=1)] = 64
    """Requests that may wait for a worker; further ones are refused with 503."""


class ReportConfig(Section):
    title: str = "oodtune report"
