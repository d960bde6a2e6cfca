"""Kubeflow's components call the stages, and do nothing else."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from components.plan import plan
from oodtune.config import Config, load_config
from oodtune.stages import plan as plan_stage
from oodtune.stages.planned import PlannedTrial
from oodtune.trial import plan_trials

PROJECT_DIR = Path(__file__).parents[2]
COMPONENTS = sorted(path.stem for path in (PROJECT_DIR / "components").glob("*.py") if path.name != "__init__.py")

STAGES = {"train": "planned", "train_nodes": "train_job", "select": "gate", "report": "shown"}
"""The stage of a component, where it has another name: it does more than the command of that name."""


def stage_of(component: str) -> str:
    return STAGES.get(component, component)


def find_function(name: str) -> ast.FunctionDef:
    tree = ast.parse((PROJECT_DIR / "components" / f"{name}.py").read_text(encoding="utf-8"))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return function


def find_call(name: str) -> ast.Call:
    statement = find_function(name).body[-1]
    assert isinstance(statement, (ast.Expr, ast.Return))
    assert isinstance(statement.value, ast.Call)
    return statement.value


def find_stage_signature(name: str) -> inspect.Signature:
    called = find_call(name).func
    assert isinstance(called, ast.Attribute)
    assert ast.unparse(called.value) == stage_of(name)
    return inspect.signature(getattr(importlib.import_module(f"oodtune.stages.{stage_of(name)}"), called.attr))


def test_there_is_a_component_for_every_step_of_the_pipelines() -> None:
    sweep = "revision prepare cache init plan train combine evaluate select export report publish deploy notify"
    retrain = "due compare promote"
    several_nodes = "train_nodes"
    assert sorted([*sweep.split(), *retrain.split(), several_nodes]) == COMPONENTS


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_is_one_import_of_its_stage_and_one_call(name: str) -> None:
    function = find_function(name)
    docstring, imported, call = function.body
    assert function.name == name
    assert ast.get_docstring(function) == ast.literal_eval(ast.unparse(docstring))
    assert ast.unparse(imported) == f"from oodtune.stages import {stage_of(name)}"
    assert isinstance(call, (ast.Expr, ast.Return))
    decisions = (ast.If, ast.IfExp, ast.BoolOp, ast.Compare, ast.Lambda, ast.Try)
    assert not [node for node in ast.walk(function) if isinstance(node, decisions)]


@pytest.mark.parametrize("name", COMPONENTS)
def test_inputs_of_a_component_are_the_inputs_of_its_stage(name: str) -> None:
    inputs = [argument.arg for argument in find_function(name).args.args]
    stage = find_stage_signature(name).parameters
    required = {parameter.name for parameter in stage.values() if parameter.default is parameter.empty}
    assert required <= set(inputs) <= set(stage)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_passes_every_input_on_under_its_own_name(name: str) -> None:
    call = find_call(name)
    inputs = {argument.arg for argument in find_function(name).args.args}
    passed = {
        keyword.arg: {node.id for node in ast.walk(keyword.value) if isinstance(node, ast.Name)}
        for keyword in call.keywords
    }
    assert call.args == []
    assert set(passed) == inputs
    assert all(used & inputs == {name} for name, used in passed.items())


def plan_items(config: Config) -> list[str]:
    items = plan.python_func(plan_stage.Params.from_config(config).to_json())
    assert isinstance(items, list)
    return items


def test_the_plan_component_lists_the_trials_of_plan_trials() -> None:
    config = load_config(PROJECT_DIR / "params.yaml")
    assert [PlannedTrial.from_json(item).trial for item in plan_items(config)] == plan_trials(config.sweep)


def test_a_planned_trial_ignores_the_settings_of_other_methods() -> None:
    config = load_config(PROJECT_DIR / "params.yaml")
    settings = config.model_dump(mode="json")
    settings["methods"]["large_dropout"]["dropout"] = 0.5
    before, after = (plan_items(one) for one in (config, Config.model_validate(settings)))
    assert [item for item in before if "plain" in item] == [item for item in after if "plain" in item]
    assert before != after
