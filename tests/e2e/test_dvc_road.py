"""The whole road as a user walks it: real git, real DVC, `dvc repro`, then predict and serve."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from oodtune.artifact import open_artifact
from tests.fixtures.tiny_sweep import PROJECT_DIR, tiny_settings, write_settings
from tests.fixtures.warm.process import warm_environment

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("dvc-road"), pytest.mark.timeout(600)]


def environment() -> dict[str, str]:
    return {**warm_environment(), "GIT_CONFIG_GLOBAL": os.devnull}


def run(project: Path, *command: str, code: int = 0) -> str:
    result = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=500, check=False
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def change(project: Path, section: str, **values: object) -> None:
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    settings[section].update(values)
    write_settings(project / "params.yaml", settings)


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '([^']*)'", output)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a git and DVC project with a tiny sweep, after its first `dvc repro`."""
    project = tmp_path_factory.mktemp("project")
    run(project, "git", "init", "--quiet")
    run(project, "dvc", "init", "--quiet")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copyfile(PROJECT_DIR / name, project / name)
    shutil.copytree(PROJECT_DIR / ".dvc" / "plots", project / ".dvc" / "plots", dirs_exist_ok=True)
    shutil.copytree(PROJECT_DIR / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    write_settings(project / "params.yaml", tiny_settings(project))
    run(project, "git", "add", "--all")
    run(project, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "start")
    run(project, "dvc", "repro")
    return project


def test_every_artifact_is_finished(project: Path) -> None:
    kinds = ("dataset", "cache", "init", "predictions", "selection", "bundle", "report")
    for kind in kinds:
        open_artifact(project / "artifacts" / kind, kind)
    assert len(list((project / "artifacts" / "trials").glob("*/manifest.json"))) == 4


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert stages_run(run(project, "dvc", "repro")) == []


def test_the_bundle_names_the_commit_it_was_made_from(project: Path) -> None:
    commit = run(project, "git", "rev-parse", "HEAD").strip()
    lineage = json.loads(run(project, "oodtune", "inspect", "artifacts/bundle"))
    assert lineage["commit"].startswith(commit)


def test_dvc_shows_metrics_and_plots(project: Path) -> None:
    metrics = json.loads(run(project, "dvc", "metrics", "show", "--json"))
    (values,) = [one["data"] for one in metrics[""]["data"].values()]
    assert 0 <= values["selected"]["ood"] <= 1
    plots = json.loads(run(project, "dvc", "plots", "show", "--json"))
    assert {Path(name.split("::")[0]).name for name in plots["data"]} >= {"points.csv", "curves.csv", "training-loss"}


def test_the_summary_names_the_choice_and_what_to_do_next(project: Path) -> None:
    output = run(project, "oodtune", "summary", "artifacts/report", "--bundle", "artifacts/bundle")
    for expected in ("plain", "inverted", "oodtune predict", "oodtune serve", "report.html", "scatter.svg"):
        assert expected in output


def test_predict_ranks_the_labels_of_an_image(project: Path) -> None:
    image = next((project / "artifacts/dataset/images/inverted").glob("*/*.png"))
    output = run(project, "oodtune", "predict", "artifacts/bundle", str(image), "--top-k", "2")
    assert re.search(r"(\w+) \d+\.\d%, (\w+) \d+\.\d%", output)


def test_predict_says_what_is_wrong_with_a_file(project: Path) -> None:
    output = run(project, "oodtune", "predict", "artifacts/bundle", "params.yaml", code=2)
    assert output.startswith("error: ")
    assert len(output.strip().splitlines()) == 1


@pytest.fixture
def address(project: Path) -> Iterator[str]:
    command = ["oodtune", "serve", "artifacts/bundle", "--params", "params.yaml", "--port", "0"]
    with subprocess.Popen(command, cwd=project, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        yield line.strip().rpartition(" ")[2]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0


def test_served_predictions_are_those_of_predict(project: Path, address: str) -> None:
    image = next((project / "artifacts/dataset/images/plain").glob("*/*.png"))
    request = urllib.request.Request(f"{address}/v1/classify?top_k=1", data=image.read_bytes(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        best = json.load(response)["classes"][0]
    printed = run(project, "oodtune", "predict", "artifacts/bundle", str(image), "--top-k", "1")
    assert f"{best['label']} {best['probability']:.1%}" in printed
    with urllib.request.urlopen(f"{address}/healthz", timeout=30) as response:
        assert response.status == 200
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as response:
        assert b"oodtune_requests_total" in response.read()


def test_serve_settings_rerun_nothing_and_report_settings_only_the_report(project: Path) -> None:
    change(project, "serve", port=9999)
    assert stages_run(run(project, "dvc", "repro")) == []
    change(project, "report", title="Another title")
    assert stages_run(run(project, "dvc", "repro")) == ["report"]


def test_another_dropout_retrains_its_method_only(project: Path) -> None:
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    change(project, "methods", large_dropout={"dropout": 0.5})
    status = run(project, "dvc", "status")
    write_settings(project / "params.yaml", settings)
    retrained = [line for line in status.splitlines() if line.startswith("train@")]
    assert len(retrained) == 2
    assert all("large_dropout" in line for line in retrained)
