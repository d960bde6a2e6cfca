"""What README and docs say exists, exists; what they have a reader type is known to the test that runs it."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from typer.main import get_command

from docs import tables
from oodtune.cli.main import app
from tests.fixtures.documented import pages, table

PROJECT_DIR = Path(__file__).parents[2]
README = (PROJECT_DIR / "README.md").read_text(encoding="utf-8")


BENCHMARKS = PROJECT_DIR / "benchmarks/README.md"
LINKING = [*pages.PAGES, BENCHMARKS]
INLINE = re.compile(r"`(oodtune(?: [^`]+)?)`")
NO_COMMAND = {"oodtune"}
"""Spans that begin with the word and are a name."""


def spans() -> list[str]:
    """Return every `oodtune ...` that stands in a sentence or a table of README and docs."""
    found = {
        " ".join(span.split()) for page in pages.PAGES for span in INLINE.findall(page.read_text(encoding="utf-8"))
    }
    return sorted(found - NO_COMMAND)


def benchmarks() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", BENCHMARKS.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def tree() -> list[str]:
    """Return every path in the README's file tree."""
    (block,) = re.findall(r"```text\n(params\.yaml.*?)```", README, flags=re.DOTALL)
    paths, parent = [], ""
    for line in block.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            parent = name if name.endswith("/") else ""
        paths.append(name if not line.startswith(" ") else parent + name)
    return paths


def test_every_command_of_the_pages_is_in_the_table_of_what_is_run() -> None:
    typed = {command.line: command.page.name for command in pages.commands()}
    known = {entry.line for entry in table.entries()}
    assert len(typed) > 60
    assert {line: page for line, page in typed.items() if line not in known} == {}, "tests/fixtures/documented: add it"


def test_the_table_has_no_command_that_is_on_no_page() -> None:
    assert {entry.line for entry in table.entries()} - {command.line for command in pages.commands()} == set()


def test_every_block_says_what_it_holds() -> None:
    unknown = {(block.page.name, block.body[:60]) for block in pages.blocks() if block.language not in pages.LANGUAGES}
    assert unknown == set()  # a block of another kind could hold commands that no test sees


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_every_line_that_opens_or_ends_a_block_is_seen(page: Path) -> None:
    marks = re.findall(r"^ *```", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(marks) == 2 * sum(block.page == page for block in pages.blocks())


def test_what_is_not_run_says_why_and_what_is_run_in_its_place() -> None:
    not_run = [entry for entry in table.entries() if entry.instead]
    assert [entry.line for entry in not_run if not entry.because or not (entry.says or entry.makes)] == []
    assert [entry.line for entry in table.entries() if entry.because and not entry.instead] == []


@pytest.mark.parametrize("proof", sorted({entry.proven_by for entry in table.entries() if entry.proven_by}))
def test_what_is_proven_elsewhere_is(proof: str) -> None:
    path, _, name = proof.partition("::")
    assert (PROJECT_DIR / path).exists()
    if name:
        assert re.search(rf"^(?:def|class) {name}\b", (PROJECT_DIR / path).read_text(encoding="utf-8"), re.MULTILINE)


def find_command(words: list[str]) -> tuple[click.Command, str, list[str]]:
    """Return the command that the words name, its name, and the words that are left."""
    command: click.Command = get_command(app)
    name, rest = words[0], words[1:]
    while rest and (inner := getattr(command, "commands", {}).get(rest[0])) is not None:
        command, name, rest = inner, rest[0], rest[1:]
    return command, name, rest


@pytest.mark.parametrize("span", spans())
def test_every_oodtune_in_a_sentence_is_a_command_with_options_that_it_has(span: str) -> None:
    command, name, rest = find_command(shlex.split(span.replace("...", "")))
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert [word for word in rest if word.startswith("--") and word not in flags] == []
    assert name != "oodtune" or not rest or rest[0].startswith("--"), f"no such command: {rest}"
    assert not getattr(command, "commands", {}) or not rest or rest[0].startswith("--"), f"no such command: {rest}"


@pytest.mark.parametrize("command", benchmarks(), ids=" ".join)
def test_every_benchmark_of_their_page_exists(command: list[str]) -> None:
    program, *arguments = command
    if program == "make":
        targets = re.findall(
            r"^([a-z0-9-]+):", (PROJECT_DIR / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        assert arguments[0] in targets
        return
    assert (program, arguments[0]) == ("python", "-m")
    module = PROJECT_DIR / arguments[1].replace(".", "/")
    assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_every_path_of_the_file_tree_is_tracked() -> None:
    files = tracked()
    assert len(tree()) > 15
    for path in tree():
        assert any(file == path or file.startswith(path) for file in files), path


def test_every_part_of_the_package_is_in_the_file_tree() -> None:
    parts = {path.split("/")[2] for path in tracked() if path.startswith("src/oodtune/") and path.count("/") > 2}
    shown = {Path(path).name for path in tree() if path.startswith("src/oodtune/") and path.endswith("/")}
    assert parts | {"oodtune"} == shown


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.relative_to(PROJECT_DIR).as_posix())
def test_every_table_is_that_of_the_report_it_names(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == tables.fill(text), "run `python -m docs.tables`"


def test_the_readme_has_the_table_of_the_demo() -> None:
    assert [block[2] for block in tables.BLOCK.finditer(README)] == ["demo"]
    assert "| plain |" in README


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(PROJECT_DIR).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
