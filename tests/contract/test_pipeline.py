"""The Kubeflow pipeline: what is compiled, and how a local run is followed."""

import importlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from oodtune.cli.pipeline import app
from oodtune.config import Config, load_config
from oodtune.errors import UserError
from pipelines.build import pipeline_arguments
from pipelines.compile import compile_pipeline
from pipelines.local import RunLog

PROJECT_DIR = Path(__file__).parents[2]
KUBEFLOW_MAX_PARAMETER_BYTES = 10_000  # of all parameters of a run together, as JSON


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(PROJECT_DIR / "params.yaml")


@pytest.fixture(scope="module")
def everything(config: Config) -> Config:
    """The settings of a cluster that publishes, deploys and has a volume."""
    given = {"publish": {"url": "s3://models/oodtune"}, "resources": {"volume": {"claim": "shared"}}}
    given["deploy"] = {"service": "birds", "image": "serve:1"}
    return Config.model_validate(config.model_dump(mode="json") | given)


@pytest.fixture(scope="module")
def compiled(everything: Config) -> dict[str, Any]:
    return compile_sweep(everything)


@pytest.fixture(scope="module")
def retrain(everything: Config) -> dict[str, Any]:
    return load_first_document(compile_pipeline("retrain", everything).text)


def compile_sweep(config: Config, image: str | None = None, caching: bool = True) -> dict[str, Any]:
    return load_first_document(compile_pipeline("sweep", config, image, caching, commit="0123abc").text)


def load_first_document(text: str) -> dict[str, Any]:
    document = next(yaml.safe_load_all(text))
    assert isinstance(document, dict)
    return document


def containers(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    executors = compiled["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}


def dags(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    inner = {name.removeprefix("comp-"): one["dag"] for name, one in compiled["components"].items() if "dag" in one}
    return {"root": compiled["root"]["dag"], **inner}


def tasks(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: task for dag in dags(compiled).values() for name, task in dag["tasks"].items()}


def steps(compiled: dict[str, Any]) -> set[str]:
    """Return the names of the components' tasks, without those of conditions and loops."""
    return set(tasks(compiled)) & set(containers(compiled))


def test_a_gpu_is_asked_for_by_what_runs_networks_and_by_no_other_task(compiled: dict[str, Any]) -> None:
    accelerators = {
        name: (container["resources"]["accelerator"]["type"], container["resources"]["accelerator"]["count"])
        for name, container in containers(compiled).items()
        if "accelerator" in container["resources"]
    }
    assert accelerators == dict.fromkeys(("init", "train", "combine", "evaluate"), ("nvidia.com/gpu", "1"))


def test_every_task_says_how_much_cpu_and_memory_it_needs(compiled: dict[str, Any]) -> None:
    for container in containers(compiled).values():
        assert container["resources"].keys() >= {"cpuRequest", "memoryRequest", "memoryLimit"}


def test_defaults_of_the_compiled_pipeline_are_the_params_of_each_stage(
    compiled: dict[str, Any], everything: Config
) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    given = {name: defaults.pop(name) for name in ("commit", "data_rev", "shared_dir", "config_digest")}
    assert given["commit"] == "0123abc"
    assert given["data_rev"] == ""
    assert given["shared_dir"] == "/mnt/oodtune"
    assert len(given["config_digest"]) == 64
    defaults.pop("downloads_dir")
    for name, text in defaults.items():
        stage = importlib.import_module(f"oodtune.stages.{name.removesuffix('_params')}")
        assert text == stage.Params.from_config(everything).to_json()


def test_every_task_with_params_gets_those_of_its_own_stage(compiled: dict[str, Any], retrain: dict[str, Any]) -> None:
    for pipeline in (compiled, retrain):
        given = {
            name: task["inputs"]["parameters"]["params"]["componentInputParameter"].removeprefix("pipelinechannel--")
            for name, task in tasks(pipeline).items()
            if "params" in task.get("inputs", {}).get("parameters", {})
        }
        renamed = {"promote": "publish_params"}
        assert given == {name: renamed.get(name, f"{name}_params") for name in given}
        assert len(given) >= 13


def test_data_sets_travel_as_a_commit_and_a_shared_folder(compiled: dict[str, Any]) -> None:
    prepared = tasks(compiled)["prepare"]["inputs"]["parameters"]
    assert prepared["data_rev"]["taskOutputParameter"]["producerTask"] == "revision"
    shared = {name for name, task in tasks(compiled).items() if "shared_dir" in str(task.get("inputs", {}))}
    assert {"prepare", "cache", "init", "train"} <= shared


def test_nothing_is_exported_published_or_deployed_unless_the_gate_accepts(compiled: dict[str, Any]) -> None:
    (gate,) = [task for task in tasks(compiled).values() if "condition" in task.get("triggerPolicy", {})]
    assert "select-Output'] == true" in gate["triggerPolicy"]["condition"]
    inside = set(dags(compiled)[gate["componentRef"]["name"].removeprefix("comp-")]["tasks"])
    assert inside == {"export", "publish", "deploy"}


def test_the_report_is_written_whatever_the_gate_says(compiled: dict[str, Any]) -> None:
    assert "report" in dags(compiled)["exit-handler-1"]["tasks"]


def test_people_are_told_however_the_run_ends(compiled: dict[str, Any], retrain: dict[str, Any]) -> None:
    for pipeline in (compiled, retrain):
        told = tasks(pipeline)["notify"]
        assert told["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        assert set(dags(pipeline)["root"]["tasks"]) == {"notify", told["dependentTasks"][0]}


def test_retrain_does_nothing_unless_the_data_is_new_and_promotes_only_what_is_better(retrain: dict[str, Any]) -> None:
    inside = {
        task["triggerPolicy"]["condition"].split("--")[1].split("'")[0]: set(
            dags(retrain)[task["componentRef"]["name"].removeprefix("comp-")]["tasks"]
        )
        for task in tasks(retrain).values()
        if "condition" in task.get("triggerPolicy", {})
    }
    due, accepted, better = (inside[f"{name}-Output"] for name in ("due", "select", "compare"))
    assert {"prepare", "cache", "init", "plan", "combine", "evaluate", "select", "report"} <= due
    assert {"export", "publish", "compare"} <= accepted
    assert better == {"promote", "deploy"}
    assert tasks(retrain)["deploy"]["dependentTasks"] == ["promote"]


def test_retrain_without_a_registry_is_refused(config: Config) -> None:
    with pytest.raises(UserError, match=r"publish\.url: expected the registry that retrain compares with"):
        compile_pipeline("retrain", config)


def test_without_a_registry_nothing_is_published(config: Config) -> None:
    assert not {"publish", "deploy"} & steps(compile_sweep(config))


def test_a_trial_with_several_gpus_is_trained_by_as_many_processes(config: Config) -> None:
    given = {"resources": {"profile": "gpu-multi", "gpus": 2}}
    compiled = compile_sweep(Config.model_validate(config.model_dump(mode="json") | given))
    assert tasks(compiled)["train"]["inputs"]["parameters"]["processes"] == {"runtimeValue": {"constant": 2.0}}


@pytest.mark.parametrize(("profile", "device"), [("cpu", "cpu"), ("gpu", "cuda"), ("gpu-multi", "cuda")])
def test_a_gpu_that_is_asked_for_must_be_there(config: Config, profile: str, device: str) -> None:
    given = {"resources": {"profile": profile}}
    compiled = compile_sweep(Config.model_validate(config.model_dump(mode="json") | given))
    for name in ("init", "train", "combine", "evaluate"):
        assert tasks(compiled)[name]["inputs"]["parameters"]["device"] == {"runtimeValue": {"constant": device}}


def test_a_trial_on_several_nodes_is_a_train_job(config: Config) -> None:
    given = {"resources": {"nodes": 2, "volume": {"claim": "shared"}}}
    settings = Config.model_validate(config.model_dump(mode="json") | given)
    compiled = compile_sweep(settings, image="trainer:7")
    assert "train" not in steps(compiled)
    inputs = tasks(compiled)["train-nodes"]["inputs"]["parameters"]
    assert inputs["image"] == {"runtimeValue": {"constant": "trainer:7"}}
    told = json.loads(inputs["params"]["runtimeValue"]["constant"])
    assert told["resources"]["nodes"] == 2


def test_train_runs_once_for_every_item_of_the_plan(compiled: dict[str, Any]) -> None:
    (loop,) = [task for task in tasks(compiled).values() if "parameterIterator" in task]
    items = loop["inputs"]["parameters"][loop["parameterIterator"]["items"]["inputParameter"]]
    assert items["taskOutputParameter"]["producerTask"] == "plan"
    assert set(dags(compiled)[loop["componentRef"]["name"].removeprefix("comp-")]["tasks"]) == {"train"}


def test_arguments_of_a_pipeline_fit_into_a_run(everything: Config) -> None:
    assert len(str(pipeline_arguments("retrain", everything)).encode()) < KUBEFLOW_MAX_PARAMETER_BYTES


@pytest.mark.parametrize(
    ("section", "key", "value", "stages"),
    [
        ("report", "title", "Another", {"report_params"}),
        ("serve", "port", 9000, set()),
        ("train", "steps", 7, {"plan_params"}),
        ("select", "target_domain", "noto", {"select_params"}),
        ("resources", "parallelism", 9, set()),
    ],
)
def test_changing_a_setting_changes_only_the_arguments_of_its_stages(
    config: Config, section: str, key: str, value: object, stages: set[str]
) -> None:
    settings = config.model_dump(mode="json")
    settings[section][key] = value
    before, after = (pipeline_arguments("sweep", one) for one in (config, Config.model_validate(settings)))
    assert {name for name in before if before[name] != after[name]} == stages | {"config_digest"}


def test_the_image_of_the_command_line_is_the_image_of_every_task(tmp_path: Path) -> None:
    output = tmp_path / "sweep.yaml"
    arguments = ["compile", "--project", str(PROJECT_DIR), "--image", "trainer:7", "--output", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    compiled = load_first_document(output.read_text(encoding="utf-8"))
    assert {container["image"] for container in containers(compiled).values()} == {"trainer:7"}


def test_what_reads_or_changes_the_world_is_never_taken_from_the_cache(
    compiled: dict[str, Any], retrain: dict[str, Any]
) -> None:
    for pipeline in (compiled, retrain):
        cached = {name for name in steps(pipeline) if tasks(pipeline)[name]["cachingOptions"].get("enableCache")}
        never = {"revision", "publish", "promote", "deploy", "notify", "due", "compare"}
        assert steps(pipeline) - cached == never & steps(pipeline)


@pytest.mark.parametrize(("source", "cached"), [("emoji-domains", True), ("folder", False)])
def test_folders_are_read_again_though_the_settings_are_the_same(config: Config, source: str, cached: bool) -> None:
    settings = config.model_dump(mode="json")
    settings["data"].update(source=source, root="images" if source == "folder" else None)
    prepared = tasks(compile_sweep(Config.model_validate(settings)))["prepare"]
    assert prepared["cachingOptions"].get("enableCache", False) == cached


def test_outside_a_checkout_the_command_says_where_to_run_it(tmp_path: Path) -> None:
    params = ["--params", str(PROJECT_DIR / "params.yaml")]
    result = CliRunner().invoke(app, ["compile", "--project", str(tmp_path), *params])
    assert isinstance(result.exception, UserError)
    assert "run inside a checkout or pass --project" in str(result.exception)


def test_a_run_without_local_is_refused() -> None:
    result = CliRunner().invoke(app, ["run", "--project", str(PROJECT_DIR)])
    assert isinstance(result.exception, UserError)
    assert "expected --local" in str(result.exception)


def test_a_run_log_shows_tasks_and_keeps_the_words_of_the_last_error() -> None:
    file, shown = io.StringIO(), list[str]()
    log = RunLog(file, shown.append, Path())
    log.write("08:16:50 - INFO - Executing task \x1b[96m'train'\x1b[0m\n    Traceback (most recent call last):\n")
    log.write("    ")
    log.write("oodtune.errors.DataError: photo: expected a class, found none; add it\n")
    log.write("08:16:51 - ERROR - Task \x1b[96m'train'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n")
    assert shown == ["train: started", "train: failed"]
    assert log.last_error == "photo: expected a class, found none; add it"
    assert "\x1b" not in file.getvalue()


def test_a_run_log_names_the_class_of_an_error_that_is_not_ours() -> None:
    log = RunLog(io.StringIO(), print, Path())
    log.write("    torch.OutOfMemoryError: 3 GiB\n")
    assert log.last_error == "torch.OutOfMemoryError: 3 GiB"
