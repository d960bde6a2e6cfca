"""The sweep pipeline as a file that a cluster runs."""

from pathlib import Path

from kfp.compiler import Compiler

from components import IMAGE
from oodtune.config import Config
from oodtune.errors import UserError
from pipelines.arguments import pipeline_arguments
from pipelines.sweep import build_sweep


def compile_sweep(
    config: Config, output: Path, image: str | None = None, caching: bool = True, commit: str = ""
) -> None:
    """Write the sweep pipeline to the YAML file `output`, with the settings of `config` as its defaults.

    Equal arguments give equal bytes. `image` is the image of every task; without it, the components' own.
    `commit` as in `pipeline_arguments`.
    """
    if output.suffix not in {".yaml", ".yml"}:
        raise UserError(f"{output}: expected the name of a YAML file; end it with .yaml")
    output.parent.mkdir(parents=True, exist_ok=True)
    sweep = build_sweep(image=image or IMAGE, caching=caching)
    Compiler().compile(sweep, str(output), pipeline_parameters=pipeline_arguments(config, commit))
