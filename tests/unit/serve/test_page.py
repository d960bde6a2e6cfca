"""Facts of the page's files, without a browser: what they hold, and the headers that they come with."""

import asyncio
import re

import httpx
import pytest

from oodtune.serve import ServeSettings
from oodtune.serve.app import create_app
from oodtune.serve.parts import create_parts

PATHS = ("/", "/page.css", "/page.js")


def get(path: str, headers: dict[str, str] | None = None, **settings: object) -> httpx.Response:
    """Return the answer of a server that has no model yet."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(create_parts(ServeSettings.model_validate(settings))))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "media_type"), [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")]
)
def test_files_come_with_the_headers_that_keep_the_page_to_itself(path, media_type):
    answer = get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", PATHS)
def test_a_browser_that_has_the_file_is_answered_304_without_a_body(path):
    etag = get(path).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        answer = get(path, {"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert get(path, {"if-none-match": '"other"'}).status_code == 200


def test_another_limit_is_another_page():
    small, large = get("/", max_body_bytes=2_000), get("/", max_body_bytes=20_000_000)
    assert small.headers["etag"] != large.headers["etag"]
    assert 'data-max-bytes="2000"' in small.text
    assert "up to 2 KB each" in small.text
    assert "up to 20 MB each" in large.text


def test_the_page_needs_no_token():
    assert [get(path, token="secret").status_code for path in PATHS] == [200, 200, 200]


@pytest.mark.parametrize("path", PATHS)
def test_no_file_names_another_origin(path):
    text = get(path).text.replace("xmlns='http://www.w3.org/2000/svg'", "")  # a name, which nobody asks for
    assert re.findall(r"https?:|[\"'(]//|@import|url\(", text) == []


def test_html_holds_no_code_and_no_styles_of_its_own():
    html = get("/").text
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", html) == []


def test_every_element_that_the_script_asks_for_is_there_once():
    html, script = get("/").text, get("/page.js").text
    wanted = set(re.findall(r'\bat\("([\w-]+)"\)', script))
    assert len(wanted) > 20
    assert {name: html.count(f'id="{name}"') for name in wanted} == dict.fromkeys(wanted, 1)
