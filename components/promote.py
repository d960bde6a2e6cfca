"""Kubeflow component of the stage `promote`."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promote(version: str, params: str) -> str:
    """Put a published version into production."""
    from oodtune.stages import promote

    return promote.run(version=version, params=promote.Params.from_json(params))
