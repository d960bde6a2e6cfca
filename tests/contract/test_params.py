"""Every settings file of the repository and `Config` hold the same keys."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from oodtune.config import AugmentConfig, Config, MethodConfig, load_config
from oodtune.data.recipes import RECIPES
from oodtune.train.optimiser import milestone_steps
from oodtune.trial import plan_trials

PROJECT_DIR = Path(__file__).parents[2]
WITH_DEFAULTS = {"publish", "promote", "deploy", "notify", "resources", "serve"}
"""Sections with defaults: only params.yaml has them, and there every key."""
SETTINGS = [PROJECT_DIR / "params.yaml", *sorted((PROJECT_DIR / "params").glob("*.yaml"))]


def keys_of(settings: object, prefix: str = "") -> set[str]:
    if not isinstance(settings, dict):
        return {prefix}
    return {key for name, value in settings.items() for key in keys_of(value, f"{prefix}.{name}".lstrip("."))}


def fields_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    fields = set()
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}".lstrip(".")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            fields |= fields_of(inner, path)
        else:
            fields.add(path)
    return fields


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_every_key_of_a_settings_file_is_a_field_and_the_reverse(path: Path) -> None:
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    methods = settings.pop("methods")
    left_out = WITH_DEFAULTS - settings.keys()
    assert keys_of(settings) == {field for field in fields_of(Config) if field.split(".")[0] not in left_out} - {
        "methods"
    }
    assert all(method.keys() >= {"dropout"} for method in methods.values())


def test_the_sections_of_a_cluster_are_in_params_yaml_with_their_defaults() -> None:
    settings = yaml.safe_load(SETTINGS[0].read_text(encoding="utf-8"))
    config = load_config(SETTINGS[0])
    assert settings.keys() >= WITH_DEFAULTS
    assert all(getattr(config, name) == Config.model_fields[name].default for name in WITH_DEFAULTS)


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_every_settings_file_is_valid(path: Path) -> None:
    load_config(path)


def test_the_demo_differs_from_plain_fine_tuning_in_dropout_alone() -> None:
    settings = yaml.safe_load(SETTINGS[0].read_text(encoding="utf-8"))
    assert all(set(method) == {"dropout"} for method in settings["methods"].values())


@pytest.mark.parametrize("name", ["pacs", "vlcs", "officehome", "terraincognita"])
def test_the_papers_settings_are_the_papers(name: str) -> None:
    config = load_config(PROJECT_DIR / "params" / f"paper-{name}.yaml")
    assert milestone_steps(config.train) == (5000,)
    assert config.methods["plain"] == MethodConfig()
    assert config.methods["large_dropout"] == MethodConfig(dropout=0.9)
    assert config.methods["ten_times_head"] == MethodConfig(head_rate_factor=10.0)
    assert config.augment == AugmentConfig()
    assert len(plan_trials(config.sweep)) == 4 * 3 * (2 * 3) * 3  # targets, methods, hyper-parameters, seeds
    assert config.data.recipe == name
    assert set(config.sweep.target_domains) == set(RECIPES[name].domains)
    assert (config.backbone.name, config.preprocess.size) == ("resnet50.tv2_in1k", 224)
