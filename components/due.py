"""Kubeflow component of the stage `due`."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def due(params: str, data_rev: str) -> bool:
    """Say whether the data is new to the model in production."""
    from oodtune.stages import due

    return due.run(params=due.Params.from_json(params), data_rev=data_rev)
