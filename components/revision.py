"""Kubeflow component of the stage `revision`."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def revision(params: str, data_rev: str) -> str:
    """Find the commit of the data that this run is about."""
    from oodtune.stages import revision

    return revision.run(params=revision.Params.from_json(params), data_rev=data_rev)
