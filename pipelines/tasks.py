"""The tasks that both pipelines share: data, one initial state, a task per trial, the comparison, the choice."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components import IMAGE
from components.cache import cache
from components.combine import combine
from components.deploy import deploy
from components.evaluate import evaluate
from components.export import export
from components.init import init
from components.plan import plan
from components.prepare import prepare
from components.publish import publish
from components.report import report
from components.select import select
from components.train import train
from components.train_nodes import train_nodes
from oodtune.config import Config
from oodtune.config.resources import TaskKind
from oodtune.stages import train_job
from pipelines.resources import with_resources

Channel = Any
"""A value that is known when the pipeline runs: a parameter, or the output of a task."""


@dataclass(frozen=True)
class Placing:
    """Where tasks run, and what of the settings shapes the pipeline itself."""

    config: Config
    image: str = IMAGE
    caching: bool = True
    """Let the cluster reuse a task's outputs while its inputs, settings and image are the same."""
    in_cluster: bool = True
    """False: on this machine, where resources and secrets mean nothing."""

    def __call__(self, task: PipelineTask, kind: TaskKind, caching: bool = True) -> PipelineTask:
        """Give a component's task its image, its resources and, with `caching`, the cluster's memory of results."""
        task.set_container_image(self.image).set_caching_options(self.caching and caching)
        return with_resources(task, self.config.resources, kind) if self.in_cluster else task

    def device(self, kind: TaskKind) -> str:
        """What runs networks. In a cluster by name: a GPU that a backend forgot to attach must not go unnoticed."""
        if not self.in_cluster:
            return "auto"
        return "cuda" if self.config.resources.request(kind).gpus else "cpu"

    @property
    def processes(self) -> int:
        """Processes that train one trial: one for each GPU of its pod."""
        return max(1, self.config.resources.request("train").gpus) if self.in_cluster else 1

    @property
    def parallelism(self) -> int:
        """Trials at a time. Two that share all cores of this machine take longer than one after the other."""
        return self.config.resources.parallelism if self.in_cluster else 1


@dataclass(frozen=True)
class Compared:
    """What came of the trials."""

    dataset: Channel
    cached: Channel
    members: Channel
    """The trials that the chosen model is made of: inside a condition, kfp compiles no `Collected`."""
    soups: Channel
    predictions: Channel
    selection: Channel
    accepted: Channel
    """Whether the choice may ship."""


def compare_trials(given: dict[str, Channel], data_rev: Channel, place: Placing) -> Compared:
    """Add all tasks up to the choice and its report. `given`: the pipeline's parameters by name."""
    shared = {"shared_dir": given["shared_dir"]}
    dataset = place(
        prepare(params=given["prepare_params"], downloads_dir=given["downloads_dir"], data_rev=data_rev, **shared),
        "light",
        # folders and tables change under the same settings; of a DVC repository, `data_rev` is a commit
        caching=place.config.data.dvc is not None or place.config.data.is_fixed,
    ).output
    cached = place(cache(dataset=dataset, params=given["cache_params"], **shared), "light").output
    on = {"device": place.device("network")}
    initial = place(init(cache=cached, params=given["init_params"], **on, **shared), "network").output

    items = place(plan(params=given["plan_params"]), "light").output
    with dsl.ParallelFor(items, parallelism=place.parallelism) as item:
        trial = _train(cached, initial, item, shared, place)

    def trials() -> Channel:  # one for each use: kfp cannot compile one that two tasks share
        return dsl.Collected(trial.outputs["out"])

    soups = place(
        combine(cache=cached, init=initial, trials=trials(), params=given["combine_params"], **on), "network"
    ).output
    predictions = place(
        evaluate(cache=cached, trials=trials(), soups=soups, params=given["evaluate_params"], **on), "network"
    ).output
    chosen = place(select(predictions=predictions, trials=trials(), params=given["select_params"]), "light")
    selection = chosen.outputs["out"]
    place(
        report(
            cache=cached, trials=trials(), predictions=predictions, selection=selection, params=given["report_params"]
        ),
        "light",
    )
    return Compared(dataset, cached, chosen.outputs["members"], soups, predictions, selection, chosen.outputs["Output"])


def _train(
    cached: Channel, initial: Channel, item: Channel, shared: dict[str, Channel], place: Placing
) -> PipelineTask:
    """Add the task of one trial: in its own pod, with several GPUs by torchrun; on several nodes, a TrainJob's."""
    resources = place.config.resources
    if place.in_cluster and resources.nodes > 1:
        params = train_job.Params(resources=resources).to_json()
        task = train_nodes(cache=cached, init=initial, item=item, image=place.image, params=params, **shared)
    else:
        on = {"processes": place.processes, "device": place.device("train")}
        task = train(cache=cached, init=initial, item=item, **on, **shared)
    return place(task, "train")


def export_choice(given: dict[str, Channel], compared: Compared, place: Placing) -> Channel:
    """Add the task that proves and writes the bundle; return the bundle."""
    return place(
        export(
            cache=compared.cached,
            trials=compared.members,
            soups=compared.soups,
            predictions=compared.predictions,
            selection=compared.selection,
            params=given["export_params"],
            commit=given["commit"],
        ),
        "light",
    ).output


def publish_bundle(given: dict[str, Channel], bundle: Channel, place: Placing) -> Channel:
    """Add the task that makes the bundle a version of the registry; return its address."""
    return place(publish(bundle=bundle, params=given["publish_params"]), "light", caching=False).output


def deploy_version(
    given: dict[str, Channel], version: Channel, place: Placing, after: PipelineTask | None = None
) -> None:
    """Add the task that serves a version, once the task `after` is done."""
    task = place(deploy(version=version, params=given["deploy_params"]), "light", caching=False)
    if after is not None:
        task.after(after)
