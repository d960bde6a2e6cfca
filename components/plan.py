"""Kubeflow component of the stage `plan`."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def plan(params: str) -> list[str]:
    """List the trials of the sweep, each as the JSON text that `train` takes."""
    from oodtune.stages import plan

    return plan.run(params=plan.Params.from_json(params))
