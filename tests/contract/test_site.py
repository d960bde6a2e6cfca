"""The documentation builds as a site that needs nobody else, and what its pages name exists."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from docs.site import diagram
from oodtune.artifact import MADE_BY
from oodtune.config import Config, parse_config

pytestmark = pytest.mark.xdist_group("site")

PROJECT_DIR = Path(__file__).parents[2]
DOCS_DIR = PROJECT_DIR / "docs"
PACKAGE_DIR = PROJECT_DIR / "src" / "oodtune"
ELSEWHERE = re.compile(r"^\s*(?:[a-z]+:)?//", flags=re.IGNORECASE)
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
GET_STARTED = (DOCS_DIR / "get-started.md").read_text(encoding="utf-8")
TINY = f"""
site_name: tiny
strict: true
hooks: [{DOCS_DIR / "site" / "hooks.py"}]
theme: {{name: mkdocs, highlightjs: false}}
plugins: []
"""


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(out)],
        cwd=config.parent,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    out = tmp_path_factory.mktemp("site")
    result = build(PROJECT_DIR / "mkdocs.yml", out)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return out


class Loads(HTMLParser):
    """What a browser fetches by itself to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.addresses += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]
        if tag == "link" and set(given.get("rel", "").split()) & LOADED_LINKS:
            self.addresses.append(given["href"])


def loads_of(page: Path) -> list[str]:
    parser = Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.addresses


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    assert {page.name: found for page in pages if (found := [a for a in loads_of(page) if ELSEWHERE.match(a)])} == {}


def test_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    for style in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", style.read_text(encoding="utf-8"))
        assert [address for address in addresses if ELSEWHERE.match(address)] == [], style.name


def test_no_page_asks_the_theme_for_mermaid_which_it_fetches_from_elsewhere(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []


def test_what_a_page_loads_is_in_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # it is shown at any address, so its own begin at the root
            continue
        for address in loads_of(page):
            if not address.startswith("data:"):
                assert (page.parent / address.partition("?")[0]).is_file(), f"{page.name}: {address}"


def test_a_file_outside_of_docs_that_a_page_links_to_is_a_page(site: Path) -> None:
    assert 'href="source/params.yaml.html"' in (site / "tune.html").read_text(encoding="utf-8")
    assert 'href="../source/params.yaml.html"' in (site / "reference" / "config.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", (site / "source" / "params.yaml.html").read_text(encoding="utf-8"))
    assert "# Every setting, once." in text
    assert (site / "source" / "benchmarks" / "index.html").is_file()


def test_the_reference_has_the_function_of_every_stage(site: Path) -> None:
    text = (site / "reference" / "stages.html").read_text(encoding="utf-8")
    for command in MADE_BY.values():
        assert f'id="{command.replace(" ", ".stages.")}.run"' in text


def test_a_link_to_a_file_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text(TINY, encoding="utf-8")
    (tmp_path / "settings.yaml").write_text("a: 1\n", encoding="utf-8")
    page = tmp_path / "docs" / "index.md"
    page.write_text("[there](../settings.yaml)\n", encoding="utf-8")
    assert build(tmp_path / "mkdocs.yml", tmp_path / "site").returncode == 0
    page.write_text("[gone](../gone.yaml)\n", encoding="utf-8")
    result = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert result.returncode == 1
    assert "../gone.yaml" in result.stderr


def pages_of(entry: Any) -> Iterator[str]:
    """Yield the pages of the navigation, or of a part of it."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from pages_of(inner)


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((PROJECT_DIR / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(pages_of(settings["nav"])) == sorted(
        path.relative_to(DOCS_DIR).as_posix() for path in DOCS_DIR.rglob("*.md")
    )


def test_the_diagram_is_that_of_the_imports() -> None:
    assert diagram.OUT.read_text(encoding="utf-8") == diagram.draw(), "run `python -m docs.site.diagram`"


def test_the_diagram_leaves_out_what_other_imports_imply() -> None:
    imports = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset(), "d": frozenset("c")}
    assert diagram.reduce(imports) == {**imports, "a": frozenset("b")}


def quoted(page: str) -> list[str]:
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", (DOCS_DIR / page).read_text(encoding="utf-8"))


def settings_of(page: str) -> set[tuple[str, str]]:
    """Return the settings that a page names: (path, value as YAML, or nothing)."""
    sections = "|".join(Config.model_fields)
    texts = (text for text in quoted(page) if "..." not in text)  # those are messages
    named = (re.fullmatch(rf"((?:{sections})(?:\.\w+)+)(?:: (.+))?", text) for text in texts)
    return {(match[1], match[2] or "") for match in named if match}


NAMED = sorted(
    {(page, *named) for page in ("tune.md", "troubleshooting.md", "get-started.md") for named in settings_of(page)}
)
NEEDS: dict[str, dict[str, Any]] = {
    "data.source: folder": {"data.root": "images"},
    "resources.profile": {"resources.volume": {"claim": "oodtune"}},
    "select.margin_level": {"select.min_margin": 1},
    "select.row": {"select.rule": "fixed"},
    "select.rule: fixed": {"select.row": "large_dropout"},
    "select.rule: leave_one_source_domain_out": {
        "sweep.target_domains": ["line", "line+noto", "line+twemoji", "line+openmoji"]
    },
}
"""Setting -> what else has to be set with it."""


def read_settings() -> dict[str, Any]:
    """Return params.yaml with one more method, `NAME`."""
    settings: dict[str, Any] = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    settings["methods"]["NAME"] = {}
    return settings


def put(settings: dict[str, Any], path: str, value: object) -> None:
    *sections, key = path.split(".")
    for name in sections:
        settings = settings[name]
    settings[key] = value


def field_at(path: str) -> bool:
    """Return whether `a.b.c` is a setting; the name of a method may be any."""
    model: Any = Config
    for name in path.split("."):
        if get_origin(model) is dict:
            model = get_args(model)[1]
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or name not in model.model_fields:
            return False
        model = model.model_fields[name].annotation
    return True


@pytest.mark.parametrize(("page", "path", "value"), NAMED, ids=lambda part: part or "-")
def test_every_named_setting_exists_and_takes_the_value(page: str, path: str, value: str) -> None:
    assert field_at(path), f"{page}: {path}"
    if not value:
        return
    settings = read_settings()
    for other, needed in NEEDS.get(f"{path}: {value}", NEEDS.get(path, {})).items():
        put(settings, other, needed)
    put(settings, path, yaml.safe_load(value))
    parse_config(yaml.safe_dump(settings), page)


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", GET_STARTED, flags=re.DOTALL))
def test_every_block_of_settings_in_get_started_is_valid(block: str) -> None:
    settings = read_settings()
    for section, values in yaml.safe_load(block).items():
        for key, value in values.items():
            put(settings, f"{section}.{key}", value)
    parse_config(yaml.safe_dump(settings), "get-started.md")


def test_get_started_names_sections_that_the_report_has() -> None:
    (section,) = re.findall(r"^## 5\..*?(?=^## 6\.)", GET_STARTED, flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"^\d+\. \*\*(.+?)\*\*", section, flags=re.MULTILINE)
    templates = "".join(path.read_text(encoding="utf-8") for path in PACKAGE_DIR.glob("evaluate/page*.html.j2"))
    assert len(named) > 4
    assert [name for name in named if f">{name}" not in templates] == []


class Texts(ast.NodeVisitor):
    """Every text of a module, with a NUL in place of what is filled in."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = [str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values]
        self.found.append("".join(parts))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append(node.value)


@cache
def texts_of_the_package() -> list[str]:
    visitor = Texts()
    for path in PACKAGE_DIR.rglob("*.py"):
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    return visitor.found


def messages() -> list[str]:
    """Return the first cell of every row of troubleshooting's tables: a message."""
    text = (DOCS_DIR / "troubleshooting.md").read_text(encoding="utf-8")
    return [match[2].strip() for match in re.finditer(r"^\| (`+)(.+?)\1 \|", text, flags=re.MULTILINE)]


@pytest.mark.parametrize("message", messages())
def test_every_message_of_troubleshooting_is_one_of_the_package(message: str) -> None:
    pattern = re.compile(".*".join(re.escape(part) for part in message.split("...")))
    assert any(pattern.search(text) for text in texts_of_the_package())


def test_the_pages_name_many_settings_and_messages() -> None:
    assert len({path for page, path, _ in NAMED if page == "tune.md"}) > 40
    assert len(messages()) > 40


def test_architecture_names_every_kind_of_artifact_with_its_command() -> None:
    text = (DOCS_DIR / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ((?:`oodtune \w+`(?:, )?)+) \|", text, flags=re.MULTILINE)
    found = {
        kind: command
        for kinds, commands in rows
        for kind, command in zip(re.findall(r"`(.+?)`", kinds), re.findall(r"`(.+?)`", commands), strict=True)
    }
    assert found == MADE_BY


def test_every_file_that_architecture_names_exists() -> None:
    named = {text for text in quoted("architecture.md") if re.fullmatch(r"\w+(?:/\w+)*/(?:\w+\.py)?", text)}
    assert len(named) > 10
    assert {name for name in named if not any((root / name).exists() for root in (PROJECT_DIR, PACKAGE_DIR))} == set()
