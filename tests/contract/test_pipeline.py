"""The Kubeflow pipeline: what is compiled, and how a local run is followed."""

import importlib
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from oodtune.cli.pipeline import app
from oodtune.config import Config, load_config
from oodtune.errors import UserError
from pipelines.arguments import pipeline_arguments
from pipelines.compile import compile_sweep
from pipelines.local import RunLog

PROJECT_DIR = Path(__file__).parents[2]
KUBEFLOW_MAX_PARAMETER_BYTES = 10_000  # of all parameters of a run together, as JSON


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(PROJECT_DIR / "params.yaml")


@pytest.fixture(scope="module")
def compiled(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("compiled") / "sweep.yaml"
    compile_sweep(config, path, commit="0123abc")
    return load_first_document(path)


def load_first_document(path: Path) -> dict[str, Any]:
    document = next(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert isinstance(document, dict)
    return document


def containers(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    executors = compiled["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}


def tasks(compiled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    dags = [compiled["root"]["dag"], *(one["dag"] for one in compiled["components"].values() if "dag" in one)]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}


def test_compiling_twice_gives_the_same_bytes(config: Config, tmp_path: Path) -> None:
    compile_sweep(config, tmp_path / "one.yaml")
    compile_sweep(config, tmp_path / "two.yaml")
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()


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
    compiled: dict[str, Any], config: Config
) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    assert Config.model_validate_json(defaults.pop("config")) == config
    defaults.pop("downloads_dir")
    assert defaults.pop("commit") == "0123abc"
    for name, text in defaults.items():
        stage = importlib.import_module(f"oodtune.stages.{name.removesuffix('_params')}")
        assert text == stage.Params.from_config(config).to_json()


def test_every_task_with_params_gets_those_of_its_own_stage(compiled: dict[str, Any]) -> None:
    given = {
        name: task["inputs"]["parameters"]["params"]["componentInputParameter"]
        for name, task in tasks(compiled).items()
        if "params" in task.get("inputs", {}).get("parameters", {})
    }
    with_params = ["prepare", "cache", "init", "combine", "evaluate", "select", "export", "report"]
    assert given == {name: f"{name}_params" for name in with_params}


def test_train_runs_once_for_every_item_of_the_plan(compiled: dict[str, Any]) -> None:
    (loop,) = [task for task in tasks(compiled).values() if "parameterIterator" in task]
    items = loop["inputs"]["parameters"][loop["parameterIterator"]["items"]["inputParameter"]]
    assert items["taskOutputParameter"]["producerTask"] == "plan"
    assert set(compiled["components"][loop["componentRef"]["name"]]["dag"]["tasks"]) == {"train"}


def test_arguments_of_a_sweep_fit_into_a_run(config: Config) -> None:
    assert len(str(pipeline_arguments(config)).encode()) < KUBEFLOW_MAX_PARAMETER_BYTES


@pytest.mark.parametrize(
    ("section", "key", "value", "stages"),
    [
        ("report", "title", "Another", {"report_params"}),
        ("serve", "port", 9000, set()),
        ("train", "steps", 7, set()),
        ("select", "target_domain", "noto", {"select_params"}),
    ],
)
def test_changing_a_setting_changes_only_the_arguments_of_its_stages(
    config: Config, section: str, key: str, value: object, stages: set[str]
) -> None:
    settings = config.model_dump(mode="json")
    settings[section][key] = value
    before, after = pipeline_arguments(config), pipeline_arguments(Config.model_validate(settings))
    assert {name for name in before if before[name] != after[name]} == stages | {"config"}


def test_the_image_of_the_command_line_is_the_image_of_every_task(tmp_path: Path) -> None:
    output = tmp_path / "sweep.yaml"
    arguments = ["compile", "--project", str(PROJECT_DIR), "--image", "trainer:7", "--output", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert {container["image"] for container in containers(load_first_document(output)).values()} == {"trainer:7"}


def test_tasks_are_cached_unless_compiled_without(compiled: dict[str, Any], config: Config, tmp_path: Path) -> None:
    compile_sweep(config, tmp_path / "sweep.yaml", caching=False)
    components = {
        "prepare",
        "cache",
        "init",
        "plan",
        "train",
        "combine",
        "evaluate",
        "select",
        "export",
        "report",
    }
    cached = {name for name, task in tasks(compiled).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == components
    assert "enableCache: true" not in (tmp_path / "sweep.yaml").read_text(encoding="utf-8")


def test_an_output_that_is_no_yaml_file_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected the name of a YAML file"):
        compile_sweep(config, tmp_path / "sweep.txt")


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
    log = RunLog(file, shown.append)
    log.write("08:16:50 - INFO - Executing task \x1b[96m'train'\x1b[0m\n    Traceback (most recent call last):\n")
    log.write("    ")
    log.write("oodtune.errors.DataError: photo: expected a class, found none; add it\n")
    log.write("08:16:51 - ERROR - Task \x1b[96m'train'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n")
    assert shown == ["train: started", "train: failed"]
    assert log.last_error == "photo: expected a class, found none; add it"
    assert "\x1b" not in file.getvalue()


def test_a_run_log_names_the_class_of_an_error_that_is_not_ours() -> None:
    log = RunLog(io.StringIO(), print)
    log.write("    torch.OutOfMemoryError: 3 GiB\n")
    assert log.last_error == "torch.OutOfMemoryError: 3 GiB"
