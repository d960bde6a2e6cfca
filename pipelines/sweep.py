"""The sweep as a Kubeflow pipeline: data, one initial state, a task per trial, the comparison, the bundle."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Model, PipelineTask
from kfp.dsl.graph_component import GraphComponent

from components import IMAGE
from components.cache import cache
from components.combine import combine
from components.evaluate import evaluate
from components.export import export
from components.init import init
from components.plan import plan
from components.prepare import prepare
from components.report import report
from components.select import select
from components.train import train
from pipelines.resources import CPU, GPU, Profile, with_resources


class SweepOutputs(NamedTuple):
    bundle: Model
    report: Artifact


def build_sweep(image: str = IMAGE, caching: bool = True, parallelism: int = 4) -> GraphComponent:
    """Return the sweep pipeline whose tasks run in `image`, at most `parallelism` trials at a time.

    With `caching` the cluster reuses a task's outputs while its inputs, settings and image are the same.
    """

    def place(task: PipelineTask, profile: Profile) -> PipelineTask:
        return with_resources(task, profile).set_container_image(image).set_caching_options(caching)

    @dsl.pipeline(name="oodtune-sweep", description="Fine-tune a sweep of trials and ship the best model.")
    def sweep(
        config: str,
        prepare_params: str,
        cache_params: str,
        init_params: str,
        combine_params: str,
        evaluate_params: str,
        select_params: str,
        export_params: str,
        commit: str,
        report_params: str,
        downloads_dir: str,
    ) -> SweepOutputs:
        dataset = place(prepare(params=prepare_params, downloads_dir=downloads_dir), CPU).output
        cached = place(cache(dataset=dataset, params=cache_params), CPU).output
        initial = place(init(cache=cached, params=init_params), GPU).output

        items = place(plan(config=config), CPU).output
        with dsl.ParallelFor(items, parallelism=parallelism) as item:
            trial = place(train(cache=cached, init=initial, item=item), GPU).output

        # One Collected for each use: kfp cannot compile an object that two tasks share.
        soups = place(
            combine(cache=cached, init=initial, trials=dsl.Collected(trial), params=combine_params), GPU
        ).output
        predictions = place(
            evaluate(cache=cached, trials=dsl.Collected(trial), soups=soups, params=evaluate_params), GPU
        ).output
        selection = place(select(predictions=predictions, params=select_params), CPU).output

        exported = place(
            export(
                cache=cached,
                trials=dsl.Collected(trial),
                soups=soups,
                predictions=predictions,
                selection=selection,
                params=export_params,
                commit=commit,
            ),
            CPU,
        )
        reported = place(
            report(
                cache=cached,
                trials=dsl.Collected(trial),
                predictions=predictions,
                selection=selection,
                params=report_params,
            ),
            CPU,
        )
        return SweepOutputs(bundle=exported.output, report=reported.output)

    return sweep
