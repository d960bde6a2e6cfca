"""What the README says exists, exists."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from docs import tables
from oodtune.cli.main import app

PROJECT_DIR = Path(__file__).parents[2]
README = (PROJECT_DIR / "README.md").read_text(encoding="utf-8")


PAGES = [PROJECT_DIR / "README.md", PROJECT_DIR / "benchmarks/README.md", *sorted((PROJECT_DIR / "docs").glob("*.md"))]


def commands() -> list[list[str]]:
    """Return every command line in the shell blocks of README and docs, without its comment."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def tree() -> list[str]:
    """Return every path in the README's file tree."""
    (block,) = re.findall(r"```\n(params\.yaml.*?)```", README, flags=re.DOTALL)
    paths, parent = [], ""
    for line in block.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            parent = name if name.endswith("/") else ""
        paths.append(name if not line.startswith(" ") else parent + name)
    return paths


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_readme_and_docs_exists(command: list[str]) -> None:
    program, *arguments = command
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (PROJECT_DIR / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert arguments[0] in targets
        return
    if program == "python":
        assert arguments[0] == "-m"
        assert (PROJECT_DIR / arguments[1].replace(".", "/")).with_suffix(".py").is_file()
        return
    if program == "torchrun":
        at = arguments.index("-m")
        program, *arguments = arguments[at + 1 :]
    assert program == "oodtune"
    group = get_command(app)
    while hasattr(group, "commands"):
        name, *arguments = arguments
        group = group.commands[name]
    group.make_context(name, arguments)


def test_the_readme_shows_two_commands_and_more() -> None:
    assert ["make", "demo"] in commands()
    assert len(commands()) > 8


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT_DIR).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
