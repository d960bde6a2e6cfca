"""The report in a real browser: nothing is asked for, nothing sticks out, light and dark, on a desk and a phone."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from oodtune.config import ReportConfig
from oodtune.stages import report
from tests.fixtures.reporting import RATES, write_inputs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DOMAINS = ("noto", "a_domain_with_a_rather_long_name", "openmoji", "line")
WIDTHS = (1200, 390)
LOOK = """
<!doctype html><iframe src="report.html" style="width: {width}px; height: 900px; border: 0"></iframe><pre></pre>
<script>
document.querySelector("iframe").onload = async event => {{
  const view = event.target.contentWindow, page = view.document;
  await Promise.all([...page.images].map(image => image.decode()));
  const outside = (inner, outer) => inner.left < outer.left - 1 || inner.right > outer.right + 1
    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  const charts = [...page.querySelectorAll(".panels svg")];
  document.querySelector("pre").textContent = JSON.stringify({{
    width: page.documentElement.clientWidth,
    wanted_width: page.documentElement.scrollWidth,
    ground: view.getComputedStyle(page.body).backgroundColor,
    ink: view.getComputedStyle(page.body).color,
    requests: view.performance.getEntriesByType("resource").map(one => one.name),
    scrolling: [...page.querySelectorAll(".scroll")]
      .filter(box => box.scrollWidth > box.clientWidth).map(box => box.getAttribute("aria-label") || box.className),
    images: [...page.images].map(image => image.naturalWidth),
    charts: charts.length,
    lost_labels: charts.flatMap(chart => [...chart.querySelectorAll("text")]
      .filter(text => outside(text.getBoundingClientRect(), chart.getBoundingClientRect()))
      .map(text => text.textContent)),
    small_labels: charts.flatMap(chart => [...chart.querySelectorAll("text")]
      .map(text => parseFloat(view.getComputedStyle(text).fontSize) * chart.getScreenCTM().a)
      .filter(size => size < 9)),
    marks_without_colour: [...page.querySelectorAll(".mark")]
      .filter(mark => ["rgb(0, 0, 0)", "none"].includes(view.getComputedStyle(mark).fill)).length,
  }});
}};
</script>
"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)"),
]


@dataclass(frozen=True)
class Seen:
    """What a browser says of the page."""

    width: int
    wanted_width: int
    ground: str
    ink: str
    requests: list[str]
    scrolling: list[str]
    """Parts that are wider than their window, and scroll."""
    images: list[int]
    charts: int
    lost_labels: list[str]
    small_labels: list[float]
    marks_without_colour: int


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("page")
    inputs = write_inputs(directory / "inputs", DOMAINS, seeds=(0, 1), num_images=100, methods=RATES)
    report.run(*inputs, directory / "report", report.Params(report=ReportConfig(title="Emoji drawn by other hands")))
    shutil.copyfile(directory / "report" / "report.html", directory / "report.html")
    return directory


def look(directory: Path, width: int, theme: str) -> Seen:
    (directory / "look.html").write_text(LOOK.format(width=width))
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        f"--user-data-dir={directory / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        (directory / "look.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (found,) = re.findall(r"<pre>(.*?)</pre>", done.stdout, flags=re.DOTALL)
    return Seen(**json.loads(unescape(found)))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window_and_asks_for_nothing(directory: Path, width: int) -> None:
    seen = look(directory, width, "light")
    assert seen.width == width
    assert seen.wanted_width == width
    assert seen.requests == []
    assert len(seen.images) == 16
    assert min(seen.images) > 0
    assert seen.charts > 15
    assert seen.lost_labels == []
    assert seen.small_labels == []
    assert seen.marks_without_colour == 0


def test_on_a_desk_nothing_needs_to_be_scrolled_sideways(directory: Path) -> None:
    assert look(directory, 1200, "light").scrolling == []


def test_the_page_follows_the_readers_theme(directory: Path) -> None:
    light, dark = look(directory, 1200, "light"), look(directory, 1200, "dark")
    assert brightness(light.ground) > 200
    assert brightness(light.ink) < 60
    assert brightness(dark.ground) < 60
    assert brightness(dark.ink) > 200
    assert dark.marks_without_colour == 0


def brightness(colour: str) -> float:
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    return (red + green + blue) / 3.0
