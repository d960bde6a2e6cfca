"""Kubeflow component of the stage `publish`."""

from kfp import dsl
from kfp.dsl import Input, Model

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def publish(bundle: Input[Model], params: str) -> str:
    """Put the bundle into the registry; return its address."""
    from oodtune.stages import publish

    return publish.run(bundle=bundle.path, params=publish.Params.from_json(params))
