"""Settings files for measuring commands as users run them."""

from collections.abc import Mapping
from pathlib import Path

import yaml

PROJECT_DIR = Path(__file__).parents[1]


def write_settings(directory: Path, **sections: Mapping[str, object]) -> None:
    """Write the project's `params.yaml` to `directory`, with what `sections` say instead."""
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    for section, values in sections.items():
        settings[section].update(values)
    (directory / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
