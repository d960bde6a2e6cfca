"""Whether there is anything to train: is the data another revision than that of the model in production?"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oodtune.bundle import LINEAGE
from oodtune.config import PublishConfig, StageParams
from oodtune.stages.in_production import fetch_production


class Params(StageParams):
    publish: PublishConfig


def run(params: Params, data_rev: str) -> bool:
    """Return False if the version in production was trained on the commit `data_rev`, True otherwise.

    With no version in production, or data without revisions, there is always something to train. Raises UserError
    if the registry cannot be read.
    """
    lineage = _lineage(params.publish)
    if lineage is None:
        print("due: nothing is in production")
        return True
    trained_on = {origin.get("version", "") for origin in lineage["dataset"].get("origins", ())}
    due = not data_rev or trained_on != {data_rev}
    before = ", ".join(sorted(trained_on - {""})) or "data without revisions"
    print(f"due: {due}; production was trained on {before}; now it is {data_rev or 'data without revisions'}")
    return due


def _lineage(config: PublishConfig) -> dict[str, Any] | None:
    with TemporaryDirectory() as scratch:
        fetched = fetch_production(config, Path(scratch))
        if fetched is None:
            return None
        lineage: dict[str, Any] = json.loads((fetched / LINEAGE).read_text(encoding="utf-8"))
        return lineage
