"""`params.yaml` and `Config` hold the same keys."""

from pathlib import Path

import yaml
from pydantic import BaseModel

from oodtune.config import Config

PROJECT_DIR = Path(__file__).parents[2]


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


def test_every_key_of_params_yaml_is_a_field_and_the_reverse() -> None:
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    methods = settings.pop("methods")
    assert keys_of(settings) == fields_of(Config) - {"methods"}
    assert all(set(method) == {"dropout"} for method in methods.values())


def test_params_yaml_is_valid() -> None:
    Config.model_validate(yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8")))
