"""Kubeflow component of the stage `evaluate`."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    cache: Input[Dataset],
    trials: Input[list[Model]],
    soups: Input[Model],
    params: str,
    device: str,
    out: Output[Artifact],
) -> None:
    """Predict every image once with every model."""
    from oodtune.stages import evaluate

    evaluate.run(
        cache=cache.path,
        trials=[trial.path for trial in trials],
        soups=soups.path,
        out=out.path,
        params=evaluate.Params.from_json(params),
        device=device,
    )
