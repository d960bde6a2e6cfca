"""Kubeflow component of the stage `deploy`."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy(version: str, params: str) -> str:
    """Serve a published version on KServe; return the endpoint's address."""
    from oodtune.stages import deploy

    return deploy.run(version=version, params=deploy.Params.from_json(params))
