"""Kubeflow component of the stage `report`."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    cache: Input[Dataset],
    trials: Input[list[Model]],
    predictions: Input[Artifact],
    selection: Input[Artifact],
    params: str,
    out: Output[Artifact],
) -> None:
    """Draw the table and the picture of iid against ood accuracy."""
    from oodtune.stages import report

    report.run(
        cache=cache.path,
        trials=[trial.path for trial in trials],
        predictions=predictions.path,
        selection=selection.path,
        out=out.path,
        params=report.Params.from_json(params),
    )
