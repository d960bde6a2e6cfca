"""Facts of the lines of JSON that the server writes."""

import json
import logging
import warnings

import pytest

from oodtune.serve.logs import is_logged, log_event, log_request, logged_as, take_request_id

SECRET = b"a-secret"
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/classify",
    "query_string": b"token=" + SECRET,
    "headers": [
        (b"authorization", b"Bearer " + SECRET),
        (b"content-length", b"123"),
        (b"cookie", SECRET),
        (b"x-request-id", b"my-id_1.2"),
    ],
    "client": ("10.0.0.7", 4711),
}


def scope(**changes):
    return {**SCOPE, **changes}


def test_a_failed_request_is_one_line_that_says_who_what_and_why(lines):
    asked = scope(**{"oodtune.route": "/v1/classify", "oodtune.reason": "bad_image"})
    with logged_as(take_request_id(b"my-id_1.2")):
        log_request(asked, 400, 0.0123456789, "v7")
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "oodtune.serve",
        "event": "request",
        "request_id": "my-id_1.2",
        "method": "POST",
        "route": "/v1/classify",
        "status": 400,
        "reason": "bad_image",
        "seconds": 0.012346,
        "content_length": 123,
        "model_version": "v7",
        "remote": "10.0.0.7",
    }


def test_neither_token_nor_query_nor_an_unknown_path_is_logged(lines):
    asked = scope(path="/" + SECRET.decode())
    log_request(asked, 404, 0.1, None)
    assert SECRET.decode() not in json.dumps(lines())
    assert lines()[0]["route"] == "other"


@pytest.mark.parametrize(
    ("status", "log_all", "level"),
    [(200, False, None), (200, True, "info"), (404, False, "warning"), (503, False, "warning"), (500, False, "error")],
)
def test_what_succeeds_is_logged_only_if_asked_for(lines, status, log_all, level):
    assert is_logged(status, log_all) == (level is not None)
    log_request(scope(), status, 0.1, None)
    assert lines()[0]["level"] == (level or "info")


@pytest.mark.parametrize(
    "given", [b"", b"x" * 65, b"a b", b'a"b', b"a\nb", "ä".encode(), b"\xff", b"a/b", b"a\r\nX-Evil: 1"]
)
def test_a_harmful_request_id_is_replaced(given):
    new = take_request_id(given)
    assert new.isalnum() and len(new) == 16
    assert new != take_request_id(given)


@pytest.mark.parametrize("length", [b"-1", b"x", b"9" * 5000, "²".encode(), b"1e3"])
def test_a_content_length_that_is_no_number_is_left_out(lines, length):
    log_request(scope(headers=[(b"content-length", length)]), 400, 0.1, None)
    assert "content_length" not in lines()[0]


def test_a_client_that_is_no_address_is_left_out(lines):
    log_request(scope(client=None), 400, 0.1, None)
    assert "remote" not in lines()[0]


def test_events_of_the_server_carry_their_fields(lines):
    log_event("ready", model="m", version="3", took=None)
    (line,) = lines()
    assert (line["event"], line["model"], line["version"]) == ("ready", "m", "3")
    assert "took" not in line


def test_a_traceback_of_uvicorn_and_a_warning_are_one_line_each(lines):
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful\nnow", UserWarning, stacklevel=1)
    first, second = lines()
    assert first["logger"] == "uvicorn.error" and "ValueError: first\nsecond" in first["traceback"]
    assert second["logger"] == "py.warnings" and "careful\nnow" in second["event"]


def test_text_that_is_no_unicode_does_not_lose_the_line(lines):
    log_event("odd", text="\udcff", number=2**80)
    assert lines()[0]["event"]
