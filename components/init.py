"""Kubeflow component of the stage `init`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def init(cache: Input[Dataset], params: str, device: str, shared_dir: str, out: Output[Model]) -> None:
    """Make the one initial state that all trials of a target domain start from."""
    from oodtune.stages import init

    init.run(cache=cache.path, out=out.path, params=init.Params.from_json(params), device=device, shared_dir=shared_dir)
