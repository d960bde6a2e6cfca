"""The end of a run, told to a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from oodtune.config import NotifyConfig
from oodtune.stages import notify

SECRET = "T024/B1G/secret"  # as in the addresses of chat services


@dataclass(frozen=True)
class Status:
    state: str = "SUCCEEDED"
    pipeline_job_resource_name: str = "sweep-x7k2"
    error_message: str | None = None


FAILED = Status("FAILED", error_message="train: no space left")


@dataclass
class Listener:
    url: str = ""
    answers: list[int] = field(default_factory=list)
    """Of the next requests; 200 for those that follow."""
    heard: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-type"] == "application/json"
            listener.heard.append(json.loads(body))
            answer = listener.answers.pop(0) if listener.answers else 200
            if answer:
                self.send_response(answer)
                self.send_header("content-length", "0")
                self.end_headers()
            else:
                self.wfile.write(b"SSH-2.0-no_http_here\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(notify, "PAUSE_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    listener.url = f"http://127.0.0.1:{server.server_port}/{SECRET}"
    yield listener
    server.shutdown()
    thread.join()
    server.server_close()


def tell(status: Status, url: str | None, out: Path) -> str:
    notify.run(status, notify.Params(notify=NotifyConfig(url=url)), "emoji-domains, 4 targets", out)
    return out.read_text(encoding="utf-8")


def test_the_address_gets_a_text_and_the_facts(listener: Listener, tmp_path: Path) -> None:
    tell(FAILED, listener.url, tmp_path / "out.md")
    assert listener.heard == [
        {
            "text": "oodtune: sweep-x7k2 failed (emoji-domains, 4 targets): train: no space left",
            "run": "sweep-x7k2",
            "state": "FAILED",
            "about": "emoji-domains, 4 targets",
            "error": "train: no space left",
        }
    ]


def test_the_page_says_how_the_run_ended_and_about_what(tmp_path: Path) -> None:
    page = tell(Status(), None, tmp_path / "new" / "out.md")
    assert page.startswith("# Succeeded: sweep-x7k2\n")
    assert "emoji-domains, 4 targets" in page
    assert "```" not in page
    assert "```text\ntrain: no space left\n```" in tell(FAILED, None, tmp_path / "out.md")


def test_a_service_that_is_busy_is_asked_again(
    listener: Listener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener.answers = [503, 0]
    tell(Status(), listener.url, tmp_path / "out.md")
    assert len(listener.heard) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("answer", [500, 0])
def test_an_address_that_takes_nothing_is_a_warning(
    answer: int, listener: Listener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener.answers = [answer] * notify.ATTEMPTS
    assert tell(Status(), listener.url, tmp_path / "out.md").startswith("# Succeeded")
    assert len(listener.heard) == notify.ATTEMPTS
    said = capsys.readouterr()
    assert "warning: expected 127.0.0.1:" in said.err
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/hook", "http://127.0.0.1:no_port/hook", "https://[::1/hook", "http://a b/hook"]
)
def test_a_dead_address_does_not_fail_the_task(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notify, "PAUSE_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1,a b")
    tell(FAILED, url, tmp_path / "out.md")
    assert "nobody was told there" in capsys.readouterr().err


def test_what_is_no_web_address_is_refused_with_the_settings() -> None:
    with pytest.raises(ValidationError, match="url"):
        NotifyConfig(url="file:///etc/passwd")
