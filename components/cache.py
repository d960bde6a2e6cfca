"""Kubeflow component of the stage `cache`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def cache(dataset: Input[Dataset], params: str, shared_dir: str, out: Output[Dataset]) -> None:
    """Decode every image once."""
    from oodtune.stages import cache

    cache.run(dataset=dataset.path, out=out.path, params=cache.Params.from_json(params), shared_dir=shared_dir)
