"""Kubeflow component of the stage `compare`."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Markdown, Model, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(dataset: Input[Dataset], bundle: Input[Model], params: str, out: Output[Markdown]) -> bool:
    """Say whether the new bundle beats the one in production."""
    from oodtune.stages import compare

    return compare.run(dataset=dataset.path, bundle=bundle.path, out=out.path, params=compare.Params.from_json(params))
