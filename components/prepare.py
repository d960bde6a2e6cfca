"""Kubeflow component of the stage `prepare`."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(params: str, downloads_dir: str, data_rev: str, shared_dir: str, out: Output[Dataset]) -> None:
    """Fetch, check and split the images."""
    from oodtune.stages import prepare

    prepare.run(
        out=out.path,
        params=prepare.Params.from_json(params),
        downloads_dir=downloads_dir,
        data_rev=data_rev,
        shared_dir=shared_dir,
    )
