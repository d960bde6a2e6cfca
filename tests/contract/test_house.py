"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.fixtures.tracked import tracked_names

PROJECT_DIR = Path(__file__).parents[2]
MAX_LINES = 300


def tracked_files() -> list[Path]:
    return [PROJECT_DIR / name for name in tracked_names()]


def test_no_source_file_is_over_300_lines() -> None:
    kinds = {".py", ".j2"}
    sizes = {
        str(path.relative_to(PROJECT_DIR)): len(path.read_text(encoding="utf-8").splitlines())
        for path in tracked_files()
        if path.suffix in kinds
    }
    assert {name: size for name, size in sizes.items() if size > MAX_LINES} == {}


def test_locks_carry_hashes_and_name_no_address() -> None:
    locks = sorted((PROJECT_DIR / "requirements").glob("*.txt"))
    assert {lock.stem for lock in locks} == {"build", "dev", "pipeline", "serve-cpu", "serve-gpu", "train", "train-gpu"}
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        pins = re.findall(r"^[a-z0-9][^\s=]*==", text, flags=re.MULTILINE)
        assert len(pins) > 5
        assert text.count("--hash=sha256:") >= len(pins)


def test_the_serving_locks_have_no_training_library_and_one_onnxruntime() -> None:
    for lock, runtime in (("serve-cpu", "onnxruntime"), ("serve-gpu", "onnxruntime-gpu")):
        text = (PROJECT_DIR / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        names = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, flags=re.MULTILINE))
        assert names.isdisjoint({"torch", "timm", "kfp", "dvc"})
        assert {name for name in names if name.startswith("onnxruntime")} == {runtime}


def test_kfp_is_the_version_whose_local_runner_works() -> None:
    import kfp

    assert kfp.__version__ == "2.17.0"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("oodtune.serve.server", ("torch", "timm", "kfp", "dvc")),
        ("oodtune.bundle", ("torch", "timm", "kfp", "dvc")),
        ("oodtune.stages.train", ("kfp", "dvc")),
        ("oodtune.train.loop", ("kfp", "dvc", "timm")),
        (
            "oodtune.cli.main",
            ("torch", "timm", "kfp", "dvc", "numpy", "pydantic", "matplotlib", "onnxruntime"),
        ),
    ],
)
def test_importing_a_module_loads_nothing_that_it_must_not(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


MAX_FUNCTION_LINES = 40
LONG_FUNCTIONS = {
    "src/oodtune/serve/metrics.py:__init__": "one statement for each metric, in the order of the page",
    "src/oodtune/serve/openapi/schemas.py:_requests": "one literal: the schema of a request",
    "pipelines/retrain.py:build_retrain": "kfp takes a pipeline's parameters from one function's signature",
    "pipelines/sweep.py:build_sweep": "kfp takes a pipeline's parameters from one function's signature",
}
"""Where -> why it is longer."""


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's statements: without its signature, which lists arguments, and its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_function_is_over_40_lines_without_a_reason() -> None:
    sizes: dict[str, int] = {}
    for path in tracked_files():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes[f"{path.relative_to(PROJECT_DIR)}:{node.name}"] = body_lines(node)
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {
        name: sizes[name] for name in LONG_FUNCTIONS
    }


def test_every_warning_is_an_error() -> None:
    settings = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert settings["pytest"]["ini_options"]["filterwarnings"] == ["error"]
    assert settings["mypy"]["strict"] is True


def test_every_option_of_a_command_is_read() -> None:
    """A parameter of a command that its function never reads is a promise that nobody keeps."""
    dead = []
    for path in sorted((PROJECT_DIR / "src/oodtune/cli").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                read = {one.id for body in node.body for one in ast.walk(body) if isinstance(one, ast.Name)}
                named = [one.arg for one in (*node.args.args, *node.args.kwonlyargs) if not one.arg.startswith("_")]
                dead += [f"{path.name}: {node.name}({name})" for name in named if name not in read]
    assert dead == []


def test_every_setting_is_read() -> None:
    """A key of params.yaml that no code but its own section names is a dead option."""
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    texts = [path.read_text(encoding="utf-8") for path in tracked_files() if is_code_that_reads(path)]
    read = set(re.findall(r"\.(\w+)", "\n".join(texts)))
    keys = {key for section, keys in settings.items() if section != "methods" for key in keys}
    assert sorted(keys - read) == []


def is_code_that_reads(path: Path) -> bool:
    name = path.relative_to(PROJECT_DIR).as_posix()
    return path.suffix == ".py" and name.startswith(("src/", "pipelines/", "components/"))
