"""Every component, called as Kubeflow calls it, with its own artifact classes; on no shared volume."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Markdown, Metrics, Model, PipelineTaskFinalStatus

from oodtune.artifact import MADE_BY, open_artifact
from oodtune.config import Config
from pipelines.arguments import ONLY_RETRAIN, STAGES
from tests.fixtures.tiny_sweep import tiny_config

pytestmark = pytest.mark.xdist_group("components")


class Run:
    """What one run has made so far, by task; `call` runs the next component."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        stages = {**STAGES, **ONLY_RETRAIN}
        self.params = {name: stage.Params.from_config(config).to_json() for name, stage in stages.items()}

    def call(self, name: str, task: str = "", **given: object) -> Any:
        component = importlib.import_module(f"components.{name}")
        function: Callable[..., Any] = getattr(component, name).python_func
        return function(**given, **self._outputs(function, task or name))

    def _outputs(self, function: Callable[..., Any], task: str) -> dict[str, Artifact]:
        """Return an artifact of its own class for every output, with a place that does not exist yet."""
        made = {}
        for name, hint in function.__annotations__.items():
            marks = [getattr(mark, "__name__", "") for mark in getattr(hint, "__metadata__", ())]
            if "OutputAnnotation" in [*marks, *(type(mark).__name__ for mark in getattr(hint, "__metadata__", ()))]:
                kind = get_args(hint)[0]
                made[name] = kind(name=name, uri=str(self.directory / task / name))
                (self.directory / task).mkdir(parents=True, exist_ok=True)
        self.last = made
        return made

    def artifact(self, kind: type[Artifact], task: str, name: str = "out") -> Artifact:
        return kind(name=name, uri=str(self.directory / task / name))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("components")
    config = tiny_config(
        directory,
        sweep={"target_domains": ["inverted"]},
        train={"steps": 2, "snapshot_every": 2},
        export={"max_abs_difference": 0.01},
    )
    run = Run(directory, config)
    run.call("prepare", params=run.params["prepare"], downloads_dir=str(directory / "d"), data_rev="", shared_dir="")
    cache = {"cache": run.artifact(Dataset, "cache")}
    run.call("cache", dataset=run.artifact(Dataset, "prepare"), params=run.params["cache"], shared_dir="")
    run.call("init", **cache, params=run.params["init"], device="auto", shared_dir="")
    items = run.call("plan", params=run.params["plan"])
    init = {"init": run.artifact(Model, "init")}
    for number, item in enumerate(items):
        run.call("train", f"train-{number}", **cache, **init, item=item, shared_dir="", processes=1, device="cpu")
        run.trained = run.last  # type: ignore[attr-defined]
    trials = {"trials": [run.artifact(Model, f"train-{number}") for number in range(len(items))]}
    run.call("combine", **cache, **init, **trials, params=run.params["combine"], device="cpu")
    run.call(
        "evaluate", **cache, **trials, soups=run.artifact(Model, "combine"), params=run.params["evaluate"], device="cpu"
    )
    predictions = {"predictions": run.artifact(Artifact, "evaluate")}
    run.accepted = run.call("select", **predictions, **trials, params=run.params["select"])  # type: ignore[attr-defined]
    selection = {"selection": run.artifact(Artifact, "select")}
    run.call("report", **cache, **trials, **predictions, **selection, params=run.params["report"])
    run.reported = run.last  # type: ignore[attr-defined]
    run.call(
        "export",
        **cache,
        **predictions,
        **selection,
        trials=run.artifact(Model, "select", "members"),
        soups=run.artifact(Model, "combine"),
        params=run.params["export"],
        commit="0123abc",
    )
    return run


def test_every_output_is_the_artifact_it_should_be(run: Run) -> None:
    kinds = {"prepare": "dataset", "cache": "cache", "init": "init", "train-0": "trial", "combine": "soup"}
    kinds |= {"evaluate": "predictions", "select": "selection", "report": "report", "export": "bundle"}
    assert set(kinds.values()) <= set(MADE_BY)
    for task, kind in kinds.items():
        open_artifact(run.directory / task / "out", kind)  # type: ignore[arg-type]


def test_the_page_of_a_trial_shows_its_accuracy(run: Run) -> None:
    metrics = run.trained["metrics"]  # type: ignore[attr-defined]
    assert isinstance(metrics, Metrics)
    assert metrics.metadata["failed"] == 0.0
    assert 0.0 <= metrics.metadata["source_out_split_accuracy"] <= 1.0


def test_the_page_of_the_report_shows_table_numbers_and_confusions(run: Run) -> None:
    shown = run.reported  # type: ignore[attr-defined]
    assert {name: type(one) for name, one in shown.items()} == {
        "out": Artifact,
        "page": HTML,
        "table": Markdown,
        "metrics": Metrics,
        "confusion": ClassificationMetrics,
    }
    written = json.loads((run.directory / "report/out/metrics.json").read_text(encoding="utf-8"))
    assert shown["metrics"].metadata["chosen_ood"] == written["selected"]["ood"]
    rows = shown["confusion"].metadata["confusionMatrix"]["rows"]
    target = open_artifact(run.directory / "prepare/out", "dataset").details["counts"]["inverted"]
    assert sum(sum(row["row"]) for row in rows) == sum(target.values())
    assert "<svg" in Path(shown["page"].path).read_text(encoding="utf-8")


def test_the_choice_says_whether_it_may_ship(run: Run) -> None:
    assert run.accepted is True  # type: ignore[attr-defined]


def test_without_a_registry_and_a_service_nothing_is_published_or_deployed(run: Run) -> None:
    assert run.call("publish", bundle=run.artifact(Model, "export"), params=run.params["publish"]) == ""
    assert run.call("deploy", version="", params=run.params["deploy"]) == ""


def test_data_without_revisions_has_none(run: Run) -> None:
    assert run.call("revision", params=run.params["revision"], data_rev="") == ""


def test_people_are_told_how_the_run_ended(run: Run) -> None:
    status = PipelineTaskFinalStatus(
        state="FAILED",
        pipeline_job_resource_name="sweep-7",
        pipeline_task_name="sweep",
        error_code=2,
        error_message="train: no memory",
    )
    run.call("notify", status=status, params=run.params["notify"], about="settings 12ab")
    told = (run.directory / "notify/out").read_text(encoding="utf-8")
    assert told.startswith("# Failed: sweep-7")
    assert "train: no memory" in told
