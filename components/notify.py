"""Kubeflow component of the stage `notify`."""

from kfp import dsl
from kfp.dsl import Markdown, Output, PipelineTaskFinalStatus

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def notify(status: PipelineTaskFinalStatus, params: str, about: str, out: Output[Markdown]) -> None:
    """Tell people how the run ended."""
    from oodtune.stages import notify

    notify.run(status=status, params=notify.Params.from_json(params), about=about, out=out.path)
