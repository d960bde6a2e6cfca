"""Pipelines as files: their bytes, their names, their shape, and the objects for Kubernetes."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from oodtune.cli.pipeline import app
from oodtune.config import Config, load_config
from oodtune.errors import UserError
from pipelines.build import PipelineName
from pipelines.compile import Compiled, compile_pipeline, write_manifest, write_pipeline

PROJECT_DIR = Path(__file__).parents[2]
GOLDEN_DIR = Path(__file__).parent / "golden"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LONGEST_NAME = 63  # of a Kubernetes object that becomes a label


@pytest.fixture(scope="module")
def config() -> Config:
    settings = load_config(PROJECT_DIR / "params.yaml").model_dump(mode="json")
    settings["publish"]["url"] = "s3://models/oodtune"
    return Config.model_validate(settings)


@pytest.fixture(scope="module")
def sweep(config: Config) -> Compiled:
    return compile_pipeline("sweep", config, commit=COMMIT)


def shape(compiled: Compiled) -> dict[str, Any]:
    """Return which tasks a pipeline has, when they run, and where each input comes from."""
    spec = next(yaml.safe_load_all(compiled.text))
    components = spec["components"]

    def tasks(dag: dict[str, Any]) -> dict[str, Any]:
        return {name: describe(one) for name, one in sorted(dag["tasks"].items())}

    def describe(one: dict[str, Any]) -> dict[str, Any]:
        given = {**one.get("inputs", {}).get("artifacts", {}), **one.get("inputs", {}).get("parameters", {})}
        component = components[one["componentRef"]["name"]]
        facts = {
            "inputs": {name: source(value) for name, value in sorted(given.items())},
            "after": sorted(one.get("dependentTasks", ())),
            "when": one.get("triggerPolicy", {}),
            "for_each": one.get("parameterIterator", {}),
            "cached": one.get("cachingOptions", {}).get("enableCache", False),
            "tasks": tasks(component["dag"]) if "dag" in component else {},
        }
        return {name: fact for name, fact in facts.items() if fact}

    def source(value: dict[str, Any]) -> str:
        (kind,) = value
        fact = value[kind]
        if kind in {"taskOutputArtifact", "taskOutputParameter"}:
            return f"{fact['producerTask']}.{fact.get('outputArtifactKey') or fact.get('outputParameterKey')}"
        return str(fact)

    return {"name": spec["pipelineInfo"]["name"], "tasks": tasks(spec["root"]["dag"])}


@pytest.mark.parametrize("name", ["sweep", "retrain"])
def test_the_shape_of_a_pipeline_is_the_one_that_was_reviewed(config: Config, name: PipelineName) -> None:
    path = GOLDEN_DIR / f"{name}.yaml"
    text = yaml.safe_dump(shape(compile_pipeline(name, config)))
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path} was written: review and commit it")
    assert text == path.read_text(encoding="utf-8"), f"if that is meant, remove {path} and run this again"


def test_another_process_compiles_the_same_bytes_without_torch(sweep: Compiled) -> None:
    code = (
        "import hashlib, sys; from pathlib import Path; from oodtune.config import Config, load_config\n"
        "from pipelines.compile import compile_pipeline\n"
        "settings = load_config(Path('params.yaml')).model_dump(mode='json')\n"
        "settings['publish']['url'] = 's3://models/oodtune'\n"
        "text = compile_pipeline('sweep', Config.model_validate(settings), commit=sys.argv[1]).text\n"
        "print(hashlib.sha256(text.encode()).hexdigest(), 'torch' in sys.modules or 'timm' in sys.modules)\n"
    )
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, COMMIT],
        cwd=PROJECT_DIR,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == [hashlib.sha256(sweep.text.encode()).hexdigest(), "False"]


def test_a_version_is_named_by_pipeline_commit_and_content(sweep: Compiled, config: Config) -> None:
    digest = hashlib.sha256(sweep.text.encode()).hexdigest()[:8]
    assert sweep.version == f"oodtune-sweep-{COMMIT[:12]}-{digest}"
    others = [
        compile_pipeline("sweep", config, commit=COMMIT, image="trainer:2"),
        compile_pipeline("sweep", config, commit=COMMIT, caching=False),
        compile_pipeline("sweep", config, commit=f"{COMMIT}-dirty"),
        compile_pipeline("sweep", config),
        compile_pipeline("retrain", config, commit=f"{COMMIT}-dirty"),
    ]
    names = {one.version for one in (sweep, *others)}
    assert len(names) == 6
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= LONGEST_NAME for name in names)


def test_without_caching_no_task_is_cached_however_deep(config: Config) -> None:
    text = compile_pipeline("sweep", config, caching=False).text
    assert "enableCache: true" not in text
    assert "enableCache: true" in compile_pipeline("sweep", config).text


def test_the_manifest_holds_the_same_pipeline_under_the_name_that_submit_gives(sweep: Compiled, tmp_path: Path) -> None:
    write_manifest(sweep, tmp_path / "sweep.yaml", namespace="team")
    pipeline, version = yaml.safe_load_all((tmp_path / "sweep.yaml").read_text(encoding="utf-8"))
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"] == {"name": sweep.pipeline, "namespace": "team"}
    assert version["metadata"] == {"name": sweep.version, "namespace": "team"}
    assert version["spec"]["pipelineName"] == sweep.pipeline
    spec, platform = yaml.safe_load_all(sweep.text)
    assert (version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]) == (spec, platform)


def test_a_manifest_without_a_namespace_names_none(sweep: Compiled, tmp_path: Path) -> None:
    write_manifest(sweep, tmp_path / "sweep.yaml")
    documents = yaml.safe_load_all((tmp_path / "sweep.yaml").read_text(encoding="utf-8"))
    assert all("namespace" not in one["metadata"] for one in documents)


def test_an_output_that_is_no_yaml_file_is_refused(sweep: Compiled, tmp_path: Path) -> None:
    for write in (write_pipeline, write_manifest):
        with pytest.raises(UserError, match="expected the name of a YAML file"):
            write(sweep, tmp_path / "sweep.txt")


def test_the_command_writes_the_file_or_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["--project", str(PROJECT_DIR), "--image", "trainer:7"]
    result = CliRunner().invoke(app, ["compile", *where])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("pipeline: sweep.yaml\nversion: oodtune-sweep-")
    plain = list(yaml.safe_load_all(Path("sweep.yaml").read_text(encoding="utf-8")))
    CliRunner().invoke(app, ["compile", *where, "--manifest", "--namespace", "team", "--output", "k8s/objects.yaml"])
    _, version = yaml.safe_load_all(Path("k8s/objects.yaml").read_text(encoding="utf-8"))
    assert version["spec"]["pipelineSpec"] == plain[0]
    assert "image: trainer:7" in Path("sweep.yaml").read_text(encoding="utf-8")


def test_a_namespace_without_a_manifest_is_refused() -> None:
    result = CliRunner().invoke(app, ["compile", "--namespace", "team", "--project", str(PROJECT_DIR)])
    assert isinstance(result.exception, UserError)
    assert "expected --manifest" in str(result.exception)
