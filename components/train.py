"""Kubeflow component of the stage `train`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(cache: Input[Dataset], init: Input[Model], item: str, out: Output[Model]) -> None:
    """Fine-tune one trial of the plan."""
    from oodtune.stages import train

    train.run_planned(cache=cache.path, init=init.path, out=out.path, item=item)
