"""Kubeflow component of the stage `combine`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def combine(
    cache: Input[Dataset], init: Input[Model], trials: Input[list[Model]], params: str, device: str, out: Output[Model]
) -> None:
    """Average the weights of the trials of each target domain."""
    from oodtune.stages import combine

    combine.run(
        cache=cache.path,
        init=init.path,
        trials=[trial.path for trial in trials],
        out=out.path,
        params=combine.Params.from_json(params),
        device=device,
    )
