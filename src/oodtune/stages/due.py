"""Whether there is anything to train: is the data another revision than that of the model in production?"""

import json

from oodtune.bundle import LINEAGE
from oodtune.config import PublishConfig, StageParams
from oodtune.stages.in_production import read_from_production


class Params(StageParams):
    publish: PublishConfig


def run(params: Params, data_rev: str) -> bool:
    """Return False if the version in production was trained on the commit `data_rev`, True otherwise.

    With no version in production, or data without revisions, there is always something to train. Raises UserError
    if the registry cannot be read.
    """
    read = read_from_production(params.publish, LINEAGE)
    if read is None:
        print("due: nothing is in production")
        return True
    lineage = json.loads(read)
    trained_on = {origin.get("version", "") for origin in lineage["dataset"].get("origins", ())}
    due = not data_rev or trained_on != {data_rev}
    before = ", ".join(sorted(trained_on - {""})) or "data without revisions"
    print(f"due: {due}; production was trained on {before}; now it is {data_rev or 'data without revisions'}")
    return due
