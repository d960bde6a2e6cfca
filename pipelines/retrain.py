"""The scheduled form: if the data is new, train, and let the new model take production's place if it is better."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.compare import compare
from components.due import due
from components.notify import notify
from components.promote import promote
from components.revision import revision
from oodtune.errors import ConfigError
from pipelines.resources import pipeline_config
from pipelines.tasks import Placing, compare_trials, deploy_version, export_choice, publish_bundle


def build_retrain(place: Placing) -> GraphComponent:
    """Return the retrain pipeline. Raises ConfigError if the settings name no registry, where production is."""
    if place.config.publish.url is None:
        raise ConfigError("publish.url: expected the registry that retrain compares with and promotes in, found null")
    deploys = place.config.deploy.service is not None

    @dsl.pipeline(
        name="oodtune-retrain",
        description="Train on new data; promote the model that beats the one in production.",
        pipeline_config=pipeline_config(place.config.resources),
    )
    def retrain(
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
        due_params: str,
        compare_params: str,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in {"place", "deploys"}}
        told = place(notify(params=notify_params, about=config_digest), "light", caching=False)
        with dsl.ExitHandler(told, name="retrain"):
            found = place(revision(params=revision_params, data_rev=data_rev), "light", caching=False).output
            is_due = place(due(params=due_params, data_rev=found), "light", caching=False)
            with dsl.If(is_due.output == True, name="data-is-new"):  # noqa: E712 (a condition of the pipeline)
                compared = compare_trials(given, found, place)
                with dsl.If(compared.accepted == True, name="accepted"):  # noqa: E712
                    bundle = export_choice(given, compared, place)
                    version = publish_bundle(given, bundle, place)
                    better = place(
                        compare(dataset=compared.dataset, bundle=bundle, params=compare_params), "light", caching=False
                    )
                    with dsl.If(better.outputs["Output"] == True, name="beats-production"):  # noqa: E712
                        promoted = place(promote(version=version, params=publish_params), "light", caching=False)
                        if deploys:
                            deploy_version(given, version, place, after=promoted)

    return retrain
