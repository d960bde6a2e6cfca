"""Logins, time-outs and errors of Kubeflow's API."""

import socket
from pathlib import Path
from typing import Any

import pytest

from oodtune.errors import ClusterError, UserError
from pipelines.client import Client
from pipelines.connection import (
    ConflictError,
    Endpoint,
    Login,
    NotFoundError,
    UnavailableError,
)
from pipelines.submit import submit
from tests.fixtures.kubeflow import COMPILED, QUICK, StubbedKubeflow, client_of, command, run_of


def test_each_login_travels_in_its_header(
    kubeflow: StubbedKubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("pod-token\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    logins = {
        "authorization": [(Login(token="abc"), "Bearer abc"), (Login(service_account_token=True), "Bearer pod-token")],
        "cookie": [(Login(cookies="authservice_session=xyz"), "authservice_session=xyz")],
    }
    for header, cases in logins.items():
        for login, value in cases:
            kubeflow.reset(headers={header: value})
            submit(client_of(kubeflow, login=login), COMPILED, "tests")
            assert {one["headers"].get(header) for one in kubeflow.seen()} == {value}


def test_a_service_account_token_that_was_renewed_is_used(
    kubeflow: StubbedKubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("old")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    client = client_of(kubeflow, login=Login(service_account_token=True))
    client.find_experiment("tests")
    (tmp_path / "token").write_text("new")
    client.find_experiment("tests")
    assert [one["headers"]["authorization"] for one in kubeflow.seen()] == ["Bearer old", "Bearer new"]


def test_without_a_login_no_header_says_who_asks(kubeflow: StubbedKubeflow) -> None:
    client_of(kubeflow).find_experiment("tests")
    assert not {"authorization", "cookie"} & kubeflow.seen()[0]["headers"].keys()


@pytest.mark.parametrize(("option", "variable"), [("token", "OODTUNE_KFP_TOKEN"), ("cookies", "OODTUNE_KFP_COOKIES")])
def test_the_command_reads_secrets_from_a_file_or_the_environment(
    kubeflow: StubbedKubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    headers = {"authorization": "Bearer s3cret"} if option == "token" else {"cookie": "s3cret"}
    kubeflow.reset(headers=headers, script=[run_of("RUNNING")])
    assert isinstance(command(kubeflow, "status", "r1").exception, ClusterError)
    (tmp_path / "secret").write_text("s3cret\n")
    assert command(kubeflow, "status", "r1", f"--{option}-file", str(tmp_path / "secret")).exit_code == 0
    monkeypatch.setenv(variable, "s3cret")
    assert command(kubeflow, "status", "r1").exit_code == 0


def test_a_secret_is_in_no_message() -> None:
    assert "s3cret" not in repr(Endpoint("http://host", Login(token="s3cret")))


@pytest.mark.parametrize("content", ["", "two\nlines\n"])
def test_a_secret_file_that_is_not_one_line_is_refused(kubeflow: StubbedKubeflow, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    result = command(kubeflow, "status", "r1", "--token-file", str(tmp_path / "token"))
    assert isinstance(result.exception, UserError)
    assert "expected one line" in str(result.exception)


def test_two_logins_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="expected one login"):
        Login(token="a", cookies="b")


def test_a_missing_service_account_token_is_named(kubeflow: StubbedKubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(UserError, match="/nowhere/token, found none"):
        client_of(kubeflow, login=Login(service_account_token=True))


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ({"status": 400, "body": {"error_message": "bad\nname"}}, ClusterError, r"refused \(400\): bad name"),
        ({"status": 401, "body": {"message": "expired"}}, ClusterError, r"login \(401\): expired; pass --token-file"),
        ({"status": 403, "body": {"message": "no role"}}, ClusterError, r"\(403\): no role; pass another --namespace"),
        ({"status": 404, "body": "<html>"}, NotFoundError, r"not found \(404\): Not Found; correct --host"),
        ({"status": 409, "body": {"error": "twice"}}, ConflictError, r"\(409\): twice"),
        ({"status": 503, "body": "down", "times": 9}, UnavailableError, r"\(503\): down; try later"),
        ({"status": 200, "body": "<html>", "content_type": "text/html; charset=utf-8"}, ClusterError, "a web page"),
        ({"status": 302, "headers": {"location": "https://sso/login?k=secret"}}, ClusterError, "to https://sso/login;"),
        ({"drops": True, "times": 9}, UnavailableError, "broke off: "),
    ],
)
def test_what_goes_wrong_is_one_line_that_says_what_to_do(
    kubeflow: StubbedKubeflow, fault: dict[str, Any], error: type[Exception], words: str
) -> None:
    kubeflow.reset(faults=[{"path": "GET .*/runs/r1", **fault}])
    with pytest.raises(error, match=words) as caught:
        client_of(kubeflow).get_run("r1")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(kubeflow.url)
    assert "secret" not in str(caught.value)


def test_a_login_that_is_refused_is_not_tried_again(kubeflow: StubbedKubeflow) -> None:
    kubeflow.reset(headers={"authorization": "Bearer other"})
    with pytest.raises(ClusterError, match="401"):
        submit(client_of(kubeflow), COMPILED, "tests")
    assert len(kubeflow.seen()) == 1


def test_a_host_where_nobody_listens_is_named(unused_port: int) -> None:
    with pytest.raises(UnavailableError, match=r":\d+: cannot be reached: Failed to establish.*refused"):
        Client(Endpoint(f"http://127.0.0.1:{unused_port}", waits_s=QUICK)).get_run("r1")


def test_a_host_that_speaks_no_tls_is_named(kubeflow: StubbedKubeflow) -> None:
    with pytest.raises(ClusterError, match=r"no safe connection: .*; correct --host, or pass --ca-file") as caught:
        Client(Endpoint(kubeflow.url.replace("http:", "https:"), waits_s=())).get_run("r1")
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(unused_port: int) -> None:
    silent = Endpoint(f"http://127.0.0.1:{unused_port}", answer_s=0.1, waits_s=())
    with (
        socket.create_server(("127.0.0.1", unused_port)),
        pytest.raises(UnavailableError, match=r"broke off: .*timed out"),
    ):
        Client(silent).get_run("r1")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["kubeflow.example.com", "ftp://host", "http://"])
def test_a_host_that_is_no_url_is_refused(host: str) -> None:
    with pytest.raises(UserError, match="expected a URL"):
        Endpoint(host)
