"""Every setting of oodtune: one frozen model per section of `params.yaml`.

Unknown keys and wrong ranges are errors that name the key. Nothing else reads `params.yaml`.
"""

from oodtune.config.data import ChecksConfig, DataConfig, DvcConfig, Policy, PreprocessConfig, TableConfig
from oodtune.config.params import Config, StageParams, load_config, parse_config
from oodtune.config.release import ExportConfig, ReportConfig, SelectConfig, ServeConfig
from oodtune.config.section import Fraction, Name, Probability, Section, canonical_json, describe_validation_error
from oodtune.config.training import AugmentConfig, BackboneConfig, MethodConfig, ProbeConfig, SweepConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "BackboneConfig",
    "ChecksConfig",
    "Config",
    "DataConfig",
    "DvcConfig",
    "ExportConfig",
    "Fraction",
    "MethodConfig",
    "Name",
    "Policy",
    "PreprocessConfig",
    "Probability",
    "ProbeConfig",
    "ReportConfig",
    "Section",
    "SelectConfig",
    "ServeConfig",
    "StageParams",
    "SweepConfig",
    "TableConfig",
    "TrainConfig",
    "canonical_json",
    "describe_validation_error",
    "load_config",
    "parse_config",
]
