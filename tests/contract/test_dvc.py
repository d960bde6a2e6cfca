"""`dvc.yaml` says of every stage exactly what the code says."""

import importlib
import shlex
from pathlib import Path

import grimp
import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage
from typer.main import get_command

from oodtune.cli.main import app
from oodtune.config import Config, StageParams, load_config
from oodtune.trial import plan_trials

PROJECT_DIR = Path(__file__).parents[2]
VERBS = ("prepare", "cache", "init", "train", "combine", "evaluate", "select", "export", "report")
_SILENT = (
    *("cpus", "errors", "hashing", "locks", "parallel", "progress", "reference", "stages"),
    *("stages.failures", "stages.shared"),
)
NO_EFFECT = {"oodtune", *(f"oodtune.{name}" for name in _SILENT)}
"""Imported by stages, but no result depends on it."""


@pytest.fixture(scope="module")
def stages() -> list[PipelineStage]:
    return [stage for stage in Repo(str(PROJECT_DIR)).index.stages if isinstance(stage, PipelineStage)]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("oodtune", cache_dir=None, exclude_type_checking_imports=True)


def verb_of(stage: PipelineStage) -> str:
    return str(stage.name).partition("@")[0]


def paths_of(dependencies: list) -> set[str]:  # type: ignore[type-arg]
    return {one.def_path for one in dependencies if not isinstance(one, ParamsDependency)}


def one_of(stages: list[PipelineStage], verb: str) -> PipelineStage:
    return next(stage for stage in stages if verb_of(stage) == verb)


def test_the_stages_are_the_verbs(stages: list[PipelineStage]) -> None:
    assert {verb_of(stage) for stage in stages} == set(VERBS)


def test_every_command_is_a_command_line_of_oodtune(stages: list[PipelineStage]) -> None:
    for stage in stages:
        program, *arguments = shlex.split(stage.cmd)
        assert program == "oodtune"
        name, *options = arguments
        assert name == verb_of(stage)
        get_command(app).commands[name].make_context(name, options)  # type: ignore[attr-defined]


def test_the_matrix_is_the_planned_sweep(stages: list[PipelineStage]) -> None:
    outputs = [out.def_path for stage in stages if verb_of(stage) == "train" for out in stage.outs]
    planned = plan_trials(load_config(PROJECT_DIR / "params.yaml").sweep)
    assert outputs == [f"artifacts/trials/{trial.name}" for trial in planned]


def test_a_trial_depends_on_the_settings_of_its_own_method_only(stages: list[PipelineStage]) -> None:
    for stage in stages:
        if verb_of(stage) == "train":
            method = stage.name.split("@")[1].split("-")[1]
            assert f"methods.{method}" in params_of(stage)
            assert [name for name in params_of(stage) if name.startswith("methods")] == [f"methods.{method}"]


def params_of(stage: PipelineStage) -> set[str]:
    return {name for one in stage.deps if isinstance(one, ParamsDependency) for name in one.params}


@pytest.mark.parametrize("verb", VERBS)
def test_params_are_the_sections_that_the_stage_uses(verb: str, stages: list[PipelineStage]) -> None:
    params: type[StageParams] = importlib.import_module(f"oodtune.stages.{verb}").Params
    declared = {name.partition(".")[0] for name in params_of(one_of(stages, verb))}
    used = {{"method": "methods", "target_domains": "sweep"}.get(name, name) for name in params.model_fields}
    assert declared == used
    assert used <= set(Config.model_fields)


@pytest.mark.parametrize("verb", VERBS)
def test_code_dependencies_are_what_the_stage_imports(
    verb: str, stages: list[PipelineStage], graph: grimp.ImportGraph
) -> None:
    stage_module = f"oodtune.stages.{verb}"
    modules = {stage_module, *graph.find_upstream_modules(stage_module)} - NO_EFFECT
    files = {_source_of(module) for module in modules if not _is_package(module)}
    declared = {path for path in paths_of(one_of(stages, verb).deps) if path.startswith("src/")}
    not_declared = {file for file in files if not any(_covers(path, file) for path in declared)}
    not_imported = {path for path in declared if not any(_covers(path, file) for file in files)}
    assert not not_declared
    assert not not_imported


def _source_of(module: str) -> str:
    return "src/" + module.replace(".", "/") + ".py"


def _is_package(module: str) -> bool:
    return (PROJECT_DIR / "src" / module.replace(".", "/")).is_dir()


def _covers(path: str, file: str) -> bool:
    return file == path or file.startswith(path + "/") or (path.endswith(".j2") and file.endswith("page.py"))


def test_serve_and_report_settings_are_no_dependency_of_training(stages: list[PipelineStage]) -> None:
    for stage in stages:
        assert not any(name.startswith("serve") for name in params_of(stage))
        if verb_of(stage) != "report":
            assert not any(name.startswith("report") for name in params_of(stage))


def test_dvc_overlooks_what_stages_keep_beside_their_outputs() -> None:
    ignore = Repo(str(PROJECT_DIR)).dvcignore
    trials = PROJECT_DIR / "artifacts/trials"
    assert ignore.is_ignored_dir(str(trials / ".line-plain.partial"))
    assert ignore.is_ignored_file(str(trials.parent / ".cache.verified"))
    assert not ignore.is_ignored_dir(str(trials / "line-plain"))
