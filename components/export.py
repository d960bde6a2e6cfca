"""Kubeflow component of the stage `export`."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def export(
    cache: Input[Dataset],
    trials: Input[Model],
    soups: Input[Model],
    predictions: Input[Artifact],
    selection: Input[Artifact],
    params: str,
    commit: str,
    out: Output[Model],
) -> None:
    """Write the chosen model as a bundle that is served without torch."""
    from oodtune.stages import export

    export.run(
        cache=cache.path,
        trials=[trials.path],
        soups=soups.path,
        predictions=predictions.path,
        selection=selection.path,
        out=out.path,
        params=export.Params.from_json(params),
        commit=commit,
    )
