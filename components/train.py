"""Kubeflow component of the stage `planned`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    cache: Input[Dataset],
    init: Input[Model],
    item: str,
    shared_dir: str,
    processes: int,
    device: str,
    out: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Fine-tune one trial of the plan."""
    from oodtune.stages import planned

    planned.run(
        cache=cache.path,
        init=init.path,
        out=out.path,
        item=item,
        shared_dir=shared_dir,
        processes=processes,
        device=device,
        metrics=metrics.log_metric,
    )
