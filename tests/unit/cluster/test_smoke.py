import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from oodtune.cluster.smoke import SmokeError, ask_model

GOOD = {"model": "abc", "classes": [{"label": "cat", "probability": 1.0}]}


class Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, str]]] = {}

    def do_GET(self) -> None:
        code, text = self.answers[self.path]
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET  # noqa: N815  (as the base class wants it)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("ready", "answer", "said"),
    [
        ((503, "{}"), (200, json.dumps(GOOD)), "/healthz answers 503"),
        ((200, "{}"), (404, "not found"), "/v1/classify answers 404"),
        ((200, "{}"), (200, "<html>log in</html>"), "does not answer with the classes"),
        ((200, "{}"), (200, json.dumps({**GOOD, "classes": []})), "does not answer with the classes"),
        ((200, "{}"), (200, json.dumps({"model": "abc", "classes": [{"probability": 2}]})), "the classes of an image"),
    ],
)
def test_what_is_no_answer_of_ours_is_refused(
    address: str, ready: tuple[int, str], answer: tuple[int, str], said: str
) -> None:
    Handler.answers = {"/healthz": ready, "/v1/classify": answer}
    with pytest.raises(SmokeError, match=said):
        ask_model(address)


def test_the_model_that_answers_is_named(address: str) -> None:
    Handler.answers = {"/healthz": (200, "{}"), "/v1/classify": (200, json.dumps(GOOD))}
    assert ask_model(address + "/") == "abc"
