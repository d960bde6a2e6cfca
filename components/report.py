"""Kubeflow component of the stage `shown`."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    cache: Input[Dataset],
    trials: Input[list[Model]],
    predictions: Input[Artifact],
    selection: Input[Artifact],
    params: str,
    out: Output[Artifact],
    page: Output[HTML],
    table: Output[Markdown],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
) -> None:
    """Draw the tables and pictures that a decision is made on."""
    from oodtune.stages import shown

    shown.run(
        cache=cache.path,
        trials=[trial.path for trial in trials],
        predictions=predictions.path,
        selection=selection.path,
        out=out.path,
        params=shown.Params.from_json(params),
        page=page.path,
        table=table.path,
        metrics=metrics.log_metric,
        confusion=confusion.log_confusion_matrix,
    )
