"""The sweep as a Kubeflow pipeline: data, one initial state, a task per trial, the comparison, the bundle."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.notify import notify
from components.revision import revision
from pipelines.resources import pipeline_config
from pipelines.tasks import Placing, compare_trials, deploy_version, export_choice, publish_bundle


def build_sweep(place: Placing) -> GraphComponent:
    """Return the sweep pipeline. It publishes and deploys if the settings say where to.

    Whatever becomes of it, people are told at its end. A choice that the gate refuses is reported, and not exported.
    """
    publishes = place.config.publish.url is not None
    deploys = place.config.deploy.service is not None

    @dsl.pipeline(
        name="oodtune-sweep",
        description="Fine-tune a sweep of trials and ship the best model.",
        pipeline_config=pipeline_config(place.config.resources),
    )
    def sweep(
        data_rev: str,
        shared_dir: str,
        downloads_dir: str,
        commit: str,
        config_digest: str,
        revision_params: str,
        prepare_params: str,
        cache_params: str,
        init_params: str,
        plan_params: str,
        combine_params: str,
        evaluate_params: str,
        select_params: str,
        report_params: str,
        export_params: str,
        publish_params: str,
        deploy_params: str,
        notify_params: str,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in {"place", "publishes", "deploys"}}
        told = place(notify(params=notify_params, about=config_digest), "light", caching=False)
        with dsl.ExitHandler(told, name="sweep"):
            found = place(revision(params=revision_params, data_rev=data_rev), "light", caching=False)
            compared = compare_trials(given, found.output, place)
            with dsl.If(compared.accepted == True, name="accepted"):  # noqa: E712 (a condition of the pipeline)
                bundle = export_choice(given, compared, place)
                if publishes:
                    version = publish_bundle(given, bundle, place)
                    if deploys:
                        deploy_version(given, version, place)

    return sweep
