"""Settings of the export: what a bundle holds, and what it must prove."""

from typing import Annotated, Literal

from pydantic import Field

from oodtune.config.section import Fraction, Section

ReducedPrecision = Literal["fp16", "int8"]


class ExportConfig(Section):
    max_abs_difference: Annotated[float, Field(gt=0.0)] = 0.0005
    """Largest difference of any logit between torch and ONNX Runtime that export accepts, in units of the logits'
    standard deviation where that exceeds 1."""
    allow_oracle: bool = False
    """Export even what was chosen by a look at the target domain: its ood accuracy is a ceiling, no estimate."""
    variants: tuple[ReducedPrecision, ...] = ()
    """Graphs of lower precision to make beside fp32: fp16 for GPUs, int8 for CPUs. One that loses too much is left
    out, with the numbers."""
    max_accuracy_loss: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Points of accuracy that a variant may lose on the out-split of any source domain."""
    false_alarms: Fraction = 0.05
    """Share of images of the training domains that count as out of domain."""
