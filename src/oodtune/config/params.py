"""The whole of `params.yaml`, and the part of it that one stage uses."""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from oodtune.config.data import DataConfig, PreprocessConfig
from oodtune.config.deploy import DeployConfig
from oodtune.config.export import ExportConfig
from oodtune.config.publish import PublishConfig
from oodtune.config.release import (
    CombineConfig,
    NotifyConfig,
    PromoteConfig,
    ReportConfig,
    SelectConfig,
)
from oodtune.config.resources import ResourcesConfig
from oodtune.config.section import Name, Section, canonical_json, describe_validation_error
from oodtune.config.serve import ServeConfig
from oodtune.config.training import (
    AugmentConfig,
    BackboneConfig,
    MethodConfig,
    ProbeConfig,
    SweepConfig,
    TrainConfig,
    held_out_domains,
)
from oodtune.errors import ConfigError


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
    combine: CombineConfig
    select: SelectConfig
    export: ExportConfig
    report: ReportConfig
    serve: ServeConfig = ServeConfig()
    publish: PublishConfig = PublishConfig()
    promote: PromoteConfig = PromoteConfig()
    deploy: DeployConfig = DeployConfig()
    notify: NotifyConfig = NotifyConfig()
    resources: ResourcesConfig = ResourcesConfig()

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
        shipped = self.select.target_domain
        pairs = [one for one in self.sweep.target_domains if one != shipped and shipped in held_out_domains(one)]
        if self.select.rule == "leave_one_source_domain_out" and not pairs:
            raise ValueError(
                f"select.rule: leave_one_source_domain_out expects pairs with {shipped!r} in sweep.target_domains, "
                f"found none; add one for every other domain, as in '{shipped}+other'"
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
