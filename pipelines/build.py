"""The pipelines by name: what the command line compiles, runs and submits."""

from typing import Literal

from kfp.dsl.graph_component import GraphComponent

from components import IMAGE
from oodtune.config import Config
from pipelines.arguments import retrain_arguments, sweep_arguments
from pipelines.retrain import build_retrain
from pipelines.sweep import build_sweep
from pipelines.tasks import Placing

PipelineName = Literal["sweep", "retrain"]
BUILDERS = {"sweep": build_sweep, "retrain": build_retrain}
ARGUMENTS = {"sweep": sweep_arguments, "retrain": retrain_arguments}


def build_pipeline(
    name: PipelineName, config: Config, image: str | None = None, caching: bool = True, in_cluster: bool = True
) -> GraphComponent:
    """Return the pipeline `name`, shaped by `config`; every task runs in `image`, or else the components' own."""
    return BUILDERS[name](Placing(config, image or IMAGE, caching, in_cluster))


def pipeline_arguments(
    name: PipelineName, config: Config, commit: str = "", data_rev: str = "", shared_dir: str | None = None
) -> dict[str, str]:
    """Return the arguments of the pipeline `name` by name; see `sweep_arguments`."""
    return ARGUMENTS[name](config, commit, data_rev, shared_dir)
