"""Schedules in a cluster."""

import pytest

from oodtune.errors import ClusterError, UserError
from pipelines.compile import Compiled
from pipelines.connection import (
    NotFoundError,
)
from pipelines.schedule import Schedule, delete, disable, parse_cron, schedule
from tests.fixtures.kubeflow import COMPILED, StubbedKubeflow, client_of

NEWER = Compiled("oodtune-sweep", "oodtune-sweep-4567abc-01234567", "pipelineInfo:\n  name: oodtune-sweep\n")
NIGHTLY = Schedule("nightly", "tests", "0 0 3 * * *")


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("30 0 3 * * *", "30 0 3 * * *"),
        ("*/15 0-6/2 1,15 jan-MAR Mon-fri", "0 */15 0-6/2 1,15 jan-MAR Mon-fri"),
        ("0 0 3 ? * sun", "0 0 3 ? * sun"),
    ],
)
def test_a_time_table_becomes_six_fields(text: str, cron: str) -> None:
    assert parse_cron(text) == cron


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 3 * *", "found 4"),
        ("@daily", "found 1"),
        ("60 3 * * *", "expected the minute .* found '60'"),
        ("0 24 * * *", "expected the hour"),
        ("0 3 0 * *", "expected the day of the month"),
        ("0 3 * 13 *", "expected the month"),
        ("0 3 * * 7", "expected the day of the week as .*, 0-6, sun-sat"),
        ("0 3 * * fri-mon", "found 'fri-mon'"),
        ("5-1 3 * * *", "found '5-1'"),
        ("*/0 3 * * *", r"found '\*/0'"),
        ("1,,2 3 * * *", "found '1,,2'"),
    ],
)
def test_a_time_table_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_cron(text)


def test_a_schedule_runs_the_version_once_at_a_time(kubeflow: StubbedKubeflow) -> None:
    assert schedule(client_of(kubeflow), COMPILED, NIGHTLY) == "created"
    (made,) = kubeflow.kept("recurringruns")
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["status"]) == ("1", True, "ENABLED")
    version_id = kubeflow.kept("versions")[0]["pipeline_version_id"]
    assert made["pipeline_version_reference"]["pipeline_version_id"] == version_id


def test_the_same_schedule_twice_is_one(kubeflow: StubbedKubeflow) -> None:
    schedule(client_of(kubeflow), COMPILED, NIGHTLY)
    assert schedule(client_of(kubeflow), COMPILED, NIGHTLY) == "unchanged"
    assert len(kubeflow.kept("recurringruns")) == 1


def test_another_schedule_of_that_name_is_replaced_only_when_told(kubeflow: StubbedKubeflow) -> None:
    client = client_of(kubeflow)
    schedule(client, COMPILED, NIGHTLY)
    hourly = Schedule("nightly", "tests", "0 0 * * * *")
    with pytest.raises(UserError, match=r"differs \(cron 0 0 3 \* \* \*, not 0 0 \* \* \* \*\); pass --replace"):
        schedule(client, COMPILED, hourly)
    with pytest.raises(UserError, match=r"differs \(version "):
        schedule(client, NEWER, NIGHTLY)
    assert schedule(client, NEWER, hourly, replace=True) == "replaced"
    (made,) = kubeflow.kept("recurringruns")
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 * * * *"


def test_a_schedule_that_cannot_be_replaced_stays(kubeflow: StubbedKubeflow) -> None:
    client = client_of(kubeflow)
    schedule(client, COMPILED, NIGHTLY)
    kept = {kind: kubeflow.kept(kind) for kind in ("pipelines", "versions", "experiments", "recurringruns")}
    kubeflow.reset(**kept, faults=[{"path": "POST .*/recurringruns", "status": 400, "body": {"message": "no"}}])
    with pytest.raises(ClusterError, match="400"):
        schedule(client, COMPILED, Schedule("nightly", "tests", "0 0 * * * *"), replace=True)
    assert kubeflow.kept("recurringruns") == kept["recurringruns"]


def test_a_disabled_schedule_is_enabled_by_the_same_call(kubeflow: StubbedKubeflow) -> None:
    client = client_of(kubeflow)
    schedule(client, COMPILED, NIGHTLY)
    disable(client, "tests", "nightly")
    assert kubeflow.kept("recurringruns")[0]["status"] == "DISABLED"
    assert schedule(client, COMPILED, NIGHTLY) == "enabled"
    assert kubeflow.kept("recurringruns")[0]["status"] == "ENABLED"


def test_a_deleted_schedule_is_gone_and_cannot_be_disabled(kubeflow: StubbedKubeflow) -> None:
    client = client_of(kubeflow)
    schedule(client, COMPILED, NIGHTLY)
    delete(client, "tests", "nightly")
    assert kubeflow.kept("recurringruns") == []
    for experiment in ("tests", "unknown"):
        with pytest.raises(NotFoundError, match="schedule nightly: expected one"):
            disable(client, experiment, "nightly")
