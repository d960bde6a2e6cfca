"""The page in a real browser, in front of a real server."""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from oodtune.bundle import open_bundle
from tests.unit.serve.running import running
from tests.unit.tiny_bundle import DOMAINS, domain_images, encode, random_images, tiny_bundle

CHROMIUM = os.environ.get("PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH") or shutil.which("chromium") or shutil.which("chrome")
TOKEN = "a-secret-of-this-test"
DROP = """([encoded, name]) => {
  const bytes = Uint8Array.from(atob(encoded), one => one.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], name, {type: "image/png"}));
  return clipboardData;
}"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)"),
]


def enlarged(image: np.ndarray) -> bytes:
    return encode(np.kron(image, np.ones((8, 8, 1), np.uint8)))


KNOWN = enlarged(domain_images("day", 1, seed=3)[0])
STRANGE = enlarged(random_images(1, seed=5)[0])


def file(content: bytes, name: str = "image.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": content}


@contextmanager
def serving(**variables: str) -> Iterator[str]:
    """Yield the address of `oodtune serve`."""
    with running(str(tiny_bundle()), "--workers", "1", environ={**os.environ, **variables}) as (_, address):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as address:
        yield address


class Seen:
    """What the browser did and said while a page was open."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.set_default_timeout(15_000)
    yield page
    page.close()


def answer_of(address: str, content: bytes) -> dict:
    return httpx.post(f"{address}/v1/classify", content=content).json()


def rows(page: Page, table: str) -> list[str]:
    return page.locator(f"#{table} th").all_inner_texts()


def test_a_chosen_image_shows_what_the_server_answers_and_nothing_else_is_asked(address: str, page: Page) -> None:
    seen = Seen(page)
    page.goto(address)
    expect(page.locator("#model")).to_have_text(f"model · {open_bundle(tiny_bundle()).digest[:12]}")
    page.set_input_files("#files", file(KNOWN))
    answer = answer_of(address, KNOWN)
    expect(page.locator("#label")).to_have_text(answer["classes"][0]["label"])
    assert rows(page, "classes") == [one["label"] for one in answer["classes"]]
    shown = page.locator("#classes td:last-child").all_inner_texts()
    assert shown == [f"{one['probability'] * 100:.1f}\u00a0%" for one in answer["classes"]]
    assert rows(page, "domains") == [one["name"] for one in answer["domains"]] == list(DOMAINS)
    expect(page.locator("#notice-title")).to_have_text("Within what the model knows")
    expect(page.locator("#resembles")).to_have_text("Resembles the training domain day")
    expect(page.locator("#model-version")).to_have_text(answer["model_version"])
    expect(page.locator("#model-digest")).to_have_text(answer["model"])
    assert page.evaluate("document.getElementById('preview').naturalWidth") == 256
    expect(page.get_by_role("status")).to_contain_text(f"image.png: {answer['classes'][0]['label']}, ")
    assert seen.complaints == []
    assert {url for url in seen.requests if not url.startswith((address, f"blob:{address}", "data:"))} == set()


def test_bars_are_as_long_as_the_probabilities(address: str, page: Page) -> None:
    page.goto(address)
    page.set_input_files("#files", file(KNOWN))
    expect(page.locator("#label")).to_be_visible()
    shares = page.locator("#classes .bar").evaluate_all(
        "bars => bars.map(bar => bar.firstChild.getBoundingClientRect().width / bar.getBoundingClientRect().width)"
    )
    expected = [one["probability"] for one in answer_of(address, KNOWN)["classes"]]
    np.testing.assert_allclose(shares, expected, atol=0.02)


def test_a_strange_image_comes_with_a_warning_that_screen_readers_hear(address: str, page: Page) -> None:
    assert answer_of(address, STRANGE)["ood"]["out_of_domain"]
    page.goto(address)
    page.set_input_files("#files", file(STRANGE))
    expect(page.locator("#notice-title")).to_have_text("Out of domain: do not rely on this answer")
    expect(page.locator("#notice")).to_have_class("notice strange")
    expect(page.locator("#sure-text")).to_contain_text("Do not rely on this figure")
    expect(page.locator("#resembles")).to_contain_text("Resembles none of the training domains")
    expect(page.get_by_role("status")).to_contain_text("Out of domain")


@pytest.mark.parametrize("gesture", ["drop", "paste"])
def test_images_can_be_dropped_and_pasted(address: str, page: Page, gesture: str) -> None:
    page.goto(address)
    transfer = page.evaluate_handle(DROP, [base64.b64encode(KNOWN).decode(), "given.png"])
    if gesture == "drop":
        page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    else:
        page.evaluate("data => dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))", transfer)
    expect(page.locator("#label")).to_have_text(answer_of(address, KNOWN)["classes"][0]["label"])
    expect(page.locator("#name")).to_have_text("given.png")


def test_the_keyboard_is_enough_and_its_place_is_visible(address: str, page: Page) -> None:
    # Listened for from the start: Playwright does not wait until the browser listens, so a key right after may win.
    page.on("filechooser", lambda _: None)
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("·")  # the page has come to rest
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.locator("#drop").evaluate("drop => getComputedStyle(drop).outlineStyle") == "solid"
    with page.expect_file_chooser():
        page.keyboard.press("Space")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([file(KNOWN, "one.png"), file(STRANGE, "two.png")])
    expect(page.locator("#name")).to_have_text("one.png")
    expect(page.locator("#entries .says").nth(1)).to_have_text(answer_of(address, STRANGE)["classes"][0]["label"])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text("two.png")
    expect(page.locator("#entries button[aria-current=true]")).to_contain_text("two.png")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # clear
    expect(page.locator("#result")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "files"


def test_what_is_no_image_shows_the_servers_words(address: str, page: Page) -> None:
    page.goto(address)
    page.set_input_files("#files", file(b"<b>only text</b>", "<img src=x onerror=alert(1)>.png"))
    expect(page.locator("#reason")).to_have_text(answer_of(address, b"<b>only text</b>")["error"])
    expect(page.locator("#name")).to_have_text("<img src=x onerror=alert(1)>.png")
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text("no answer")


def test_a_server_that_has_gone_is_said_and_can_be_tried_again(address: str, page: Page) -> None:
    page.goto(address)
    page.context.set_offline(True)
    page.set_input_files("#files", file(KNOWN))
    expect(page.locator("#reason")).to_contain_text("The server could not be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#label")).to_be_visible()


def test_a_file_over_the_limit_is_not_sent(browser: Browser, page: Page) -> None:
    with serving(OODTUNE_MAX_BODY_BYTES="2000") as address:
        seen = Seen(page)
        page.goto(address)
        page.set_input_files("#files", file(bytes(2001)))
        expect(page.locator("#reason")).to_have_text("Expected a file of at most 2 KB; send a smaller one.")
        assert f"{address}/v1/classify" not in seen.requests


def test_where_a_token_is_wanted_a_field_appears_and_the_token_goes_only_into_the_header(page: Page) -> None:
    with serving(OODTUNE_TOKEN=TOKEN) as address:
        sent: list[tuple[str, dict[str, str]]] = []
        page.on("request", lambda request: sent.append((request.url, request.headers)))
        page.goto(address)
        field = page.get_by_label("access token")
        expect(field).to_be_focused()
        page.set_input_files("#files", file(KNOWN))
        field.fill("wrong")
        field.press("Enter")
        expect(page.locator("#key-problem")).to_contain_text("did not accept this token")
        field.fill(TOKEN)
        field.press("Enter")
        expect(page.locator("#label")).to_be_visible()
        expect(page.locator("#key")).to_be_hidden()
        assert sent[-1][0] == f"{address}/v1/classify"
        assert sent[-1][1]["authorization"] == f"Bearer {TOKEN}"
        assert not [url for url, _ in sent if TOKEN in url]
        assert (
            page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])") == '[{},{},""]'
        )


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_their_window_and_follow_the_theme(address: str, browser: Browser, width: int, theme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)  # type: ignore[arg-type]
    page.goto(address)
    page.set_input_files("#files", [file(KNOWN, "a_name_without_spaces_" * 6), *[file(STRANGE, "b.png")] * 8])
    expect(page.locator("#label")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = json.loads(page.evaluate("`[${getComputedStyle(document.body).backgroundColor.match(/\\d+/g)}]`"))
    assert (sum(ground) / 3 > 200) == (theme == "light")
    page.goto(f"{address}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()
