"""What the commands of a cluster do, by what they send to Kubeflow's API."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from oodtune.cli.pipeline import app
from oodtune.errors import ClusterError, UserError
from pipelines.connection import (
    NotFoundError,
)
from pipelines.schedule import Schedule, schedule
from pipelines.submit import submit
from tests.fixtures.kubeflow import (
    COMPILED,
    PROJECT_DIR,
    StubbedKubeflow,
    client_of,
    command,
    run_of,
    task,
)

NIGHTLY = Schedule("nightly", "tests", "0 0 3 * * *")


def test_a_first_submit_makes_pipeline_version_experiment_and_run(kubeflow: StubbedKubeflow) -> None:
    started = submit(client_of(kubeflow), COMPILED, "tests", service_account="runner", data_rev="v2")
    assert started.is_new_version
    assert [one["name"] for one in kubeflow.kept("pipelines")] == [COMPILED.pipeline]
    (version,) = kubeflow.kept("versions")
    assert (version["name"], version["display_name"]) == (COMPILED.version, COMPILED.version)
    (run,) = kubeflow.kept("runs")
    assert run["run_id"] == started.run_id
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["experiment_id"] == kubeflow.kept("experiments")[0]["experiment_id"]
    assert (run["service_account"], run["runtime_config"]) == ("runner", {"parameters": {"data_rev": "v2"}})
    assert kubeflow.bodies("pipelines/upload_version") == [COMPILED.text]


def test_a_second_submit_starts_another_run_of_the_same_version(kubeflow: StubbedKubeflow) -> None:
    first, second = (submit(client_of(kubeflow), COMPILED, "tests") for _ in range(2))
    assert not second.is_new_version
    assert first.run_id != second.run_id
    assert len(kubeflow.kept("versions")) == len(kubeflow.kept("experiments")) == len(kubeflow.kept("pipelines")) == 1
    assert len({one["display_name"] for one in kubeflow.kept("runs")}) == 2


@pytest.mark.parametrize("kind", ["pipelines$", "experiments$", "upload_version$"])
def test_what_another_made_in_the_meantime_is_taken(kubeflow: StubbedKubeflow, kind: str) -> None:
    conflict = {"path": f"POST .*{kind}", "status": 409, "acts": True, "body": {"message": "already exists"}}
    kubeflow.reset(faults=[conflict])
    assert submit(client_of(kubeflow), COMPILED, "tests").run_id
    assert [len(kubeflow.kept(one)) for one in ("pipelines", "experiments", "versions")] == [1, 1, 1]


@pytest.mark.parametrize("answer", [{"drops": True}, {"status": 504}])
@pytest.mark.parametrize("kind", ["runs", "recurringruns", "experiments", "pipelines", "upload_version"])
def test_nothing_is_made_twice_when_its_confirmation_is_lost(
    kubeflow: StubbedKubeflow, kind: str, answer: dict[str, Any]
) -> None:
    kubeflow.reset(faults=[{"path": f"POST .*/{kind}$", "acts": True, **answer}])
    submit(client_of(kubeflow), COMPILED, "tests")
    schedule(client_of(kubeflow), COMPILED, NIGHTLY)
    for made in ("runs", "recurringruns", "experiments", "pipelines", "versions"):
        assert len(kubeflow.kept(made)) == 1, made


@pytest.mark.parametrize(
    ("path", "status"),
    [("GET .*/experiments", 500), ("POST .*/runs", 429), ("POST .*/runs", 502), ("POST .*upload_version", 503)],
)
def test_a_server_that_cannot_answer_is_asked_again(kubeflow: StubbedKubeflow, path: str, status: int) -> None:
    kubeflow.reset(faults=[{"path": path, "status": status, "times": 2, "body": {"message": "busy"}}])
    submit(client_of(kubeflow), COMPILED, "tests")
    assert len(kubeflow.kept("runs")) == 1


def test_a_server_that_says_how_long_is_left_alone_as_long(kubeflow: StubbedKubeflow) -> None:
    kubeflow.reset(faults=[{"path": "GET", "status": 429, "headers": {"retry-after": "1"}}])
    start = time.monotonic()
    client_of(kubeflow).find_experiment("tests")
    assert time.monotonic() - start >= 1


def test_a_namespace_goes_to_pipeline_and_experiment(kubeflow: StubbedKubeflow) -> None:
    submit(client_of(kubeflow, namespace="team"), COMPILED, "tests")
    assert kubeflow.kept("pipelines")[0]["namespace"] == kubeflow.kept("experiments")[0]["namespace"] == "team"
    assert {one["query"].get("namespace") for one in kubeflow.seen() if "/pipelines/names/" in one["path"]} == {"team"}


def test_an_archived_experiment_is_named_before_anything_is_started(kubeflow: StubbedKubeflow) -> None:
    submit(client_of(kubeflow), COMPILED, "tests")
    archived = [{**kubeflow.kept("experiments")[0], "storage_state": "ARCHIVED"}]
    kubeflow.reset(experiments=archived)
    with pytest.raises(ClusterError, match="experiment tests: is archived"):
        submit(client_of(kubeflow), COMPILED, "tests")
    assert kubeflow.kept("runs") == []


def test_the_stand_in_refuses_what_the_models_do_not_know(kubeflow: StubbedKubeflow) -> None:
    body = json.dumps({"display_name": "tests", "colour": "blue"}).encode()
    with pytest.raises(OSError, match="400"):
        urlopen(Request(f"{kubeflow.url}/apis/v2beta1/experiments", body, method="POST"), timeout=5)


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 3), ("RUNNING", 4)])
def test_the_end_of_the_run_is_the_exit_code_of_submit(kubeflow: StubbedKubeflow, state: str, code: int) -> None:
    error = {"error": {"message": "no GPU"}} if state == "FAILED" else {}
    kubeflow.reset(script=[run_of("RUNNING", task("train", "RUNNING")), run_of(state, task("train", state, **error))])
    limits = ("--wait", "--poll-s", "0.05", *(("--timeout-s", "0.2") if state == "RUNNING" else ()))
    result = command(kubeflow, "submit", "sweep", "--experiment", "tests", *limits)
    assert result.exit_code == code, result.output
    run_id = kubeflow.kept("runs")[0]["run_id"]
    assert f"link: {kubeflow.url}/#/runs/details/{run_id}" in result.stdout
    assert "train: running" in result.stderr
    assert ("failed: train: no GPU" in result.stderr) == (state == "FAILED")
    assert (f"oodtune pipeline status {run_id} --wait" in result.stderr) == (state == "RUNNING")


def test_submit_uploads_what_compile_writes(kubeflow: StubbedKubeflow, tmp_path: Path) -> None:
    arguments = ["compile", "sweep", "--project", str(PROJECT_DIR), "--output", str(tmp_path / "sweep.yaml")]
    compiled = CliRunner().invoke(app, arguments)
    submitted = command(kubeflow, "submit")
    assert kubeflow.bodies("pipelines/upload_version") == [(tmp_path / "sweep.yaml").read_text(encoding="utf-8")]
    (version,) = [line for line in compiled.stdout.splitlines() if line.startswith("version: ")]
    assert f"{version} (uploaded)" in submitted.stdout


def test_an_interrupted_wait_leaves_the_run_alone(kubeflow: StubbedKubeflow) -> None:
    kubeflow.reset(script=[run_of("RUNNING", task("train", "RUNNING"))])
    arguments = ["pipeline", "status", "r1", "--wait", "--poll-s", "0.05", "--host", kubeflow.url]
    with subprocess.Popen(
        [sys.executable, "-m", "oodtune.cli.main", *arguments],
        cwd=PROJECT_DIR,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "train: running\n"
        process.send_signal(signal.SIGINT)
        try:
            _, words = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert words == (
        f"stopped: run r1 goes on; follow it with `oodtune pipeline status r1 --wait --host {kubeflow.url}`\n"
    )
    assert {one["method"] for one in kubeflow.seen()} == {"GET"}


def test_status_shows_the_run_its_tasks_and_why_it_failed(kubeflow: StubbedKubeflow) -> None:
    times = {"start_time": "2026-01-01T00:00:01Z", "end_time": "2026-01-01T00:01:03Z"}
    failed = task("train", "FAILED", 1, error={"message": "no GPU"})
    kubeflow.reset(script=[run_of("FAILED", task("prepare", "SUCCEEDED", **times), failed)])
    text = command(kubeflow, "status", "r1").stdout
    assert f"link: {kubeflow.url}/#/runs/details/r1" in text
    assert "  prepare  succeeded  0:01:02" in text
    assert "failed: train: no GPU" in text
    described = json.loads(command(kubeflow, "status", "r1", "--json").stdout)
    assert (described["state"], [one["state"] for one in described["tasks"]]) == ("failed", ["succeeded", "failed"])
    assert described["failures"] == [{"task": "train", "message": "no GPU"}]


def test_a_run_that_is_unknown_is_not_found(kubeflow: StubbedKubeflow) -> None:
    assert isinstance(command(kubeflow, "status", "r9").exception, NotFoundError)


def test_the_schedule_command_makes_disables_and_deletes(kubeflow: StubbedKubeflow) -> None:
    made = command(kubeflow, "schedule", "sweep", "--cron", "0 3 * * *")
    assert "schedule: oodtune-sweep (created; 0 0 3 * * *)" in made.stdout
    assert "(disabled)" in command(kubeflow, "schedule", "sweep", "--disable").stdout
    assert "(deleted)" in command(kubeflow, "schedule", "sweep", "--delete").stdout
    assert isinstance(command(kubeflow, "schedule", "sweep", "--cron", "1", "--delete").exception, UserError)
