"""Kubeflow component of the stage `gate`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def select(
    predictions: Input[Artifact],
    trials: Input[list[Model]],
    params: str,
    out: Output[Artifact],
    members: Output[Model],
) -> bool:
    """Choose the model to ship on source out-splits; say whether it may."""
    from oodtune.stages import gate

    return gate.run(
        predictions=predictions.path,
        trials=[trial.path for trial in trials],
        out=out.path,
        members=members.path,
        params=gate.Params.from_json(params),
    )
