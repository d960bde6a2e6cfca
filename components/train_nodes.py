"""Kubeflow component of the stage `train_job`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_nodes(
    cache: Input[Dataset],
    init: Input[Model],
    item: str,
    image: str,
    params: str,
    shared_dir: str,
    out: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Fine-tune one trial of the plan on several nodes."""
    from oodtune.stages import train_job

    train_job.run(
        cache=cache.path,
        init=init.path,
        out=out.path,
        item=item,
        image=image,
        params=train_job.Params.from_json(params),
        shared_dir=shared_dir,
        metrics=metrics.log_metric,
    )
