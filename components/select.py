"""Kubeflow component of the stage `select`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def select(predictions: Input[Artifact], params: str, out: Output[Artifact]) -> None:
    """Choose the model to ship on source out-splits."""
    from oodtune.stages import select

    select.run(predictions=predictions.path, out=out.path, params=select.Params.from_json(params))
