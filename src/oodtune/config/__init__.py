"""Every setting of oodtune: one frozen model per section of `params.yaml`.

Unknown keys and wrong ranges are errors that name the key. Nothing else reads `params.yaml`.
"""

from oodtune.config.data import ChecksConfig, DataConfig, DvcConfig, Policy, PreprocessConfig, TableConfig
from oodtune.config.deploy import DeployConfig
from oodtune.config.export import ExportConfig
from oodtune.config.params import Config, StageParams, load_config, parse_config
from oodtune.config.publish import PublishConfig
from oodtune.config.release import (
    CombineConfig,
    EnsembleRule,
    NotifyConfig,
    PromoteConfig,
    ReportConfig,
    SelectConfig,
)
from oodtune.config.resources import ResourcesConfig
from oodtune.config.section import (
    Fraction,
    HeldOut,
    Name,
    Probability,
    Section,
    canonical_json,
    describe_validation_error,
)
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

__all__ = [
    "AugmentConfig",
    "BackboneConfig",
    "ChecksConfig",
    "CombineConfig",
    "Config",
    "DataConfig",
    "DeployConfig",
    "DvcConfig",
    "EnsembleRule",
    "ExportConfig",
    "Fraction",
    "HeldOut",
    "MethodConfig",
    "Name",
    "NotifyConfig",
    "Policy",
    "PreprocessConfig",
    "Probability",
    "ProbeConfig",
    "PromoteConfig",
    "PublishConfig",
    "ReportConfig",
    "ResourcesConfig",
    "Section",
    "SelectConfig",
    "ServeConfig",
    "StageParams",
    "SweepConfig",
    "TableConfig",
    "TrainConfig",
    "canonical_json",
    "describe_validation_error",
    "held_out_domains",
    "load_config",
    "parse_config",
]
