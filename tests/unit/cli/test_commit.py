import subprocess
from pathlib import Path

import pytest

from oodtune.cli.commit import current_commit


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=directory, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "start")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert current_commit() == git(checkout, "rev-parse", "HEAD")


def test_changed_files_make_it_dirty_and_new_ones_do_not(checkout: Path) -> None:
    (checkout / "new").touch()
    assert current_commit() == git(checkout, "rev-parse", "HEAD")
    (checkout / "file").write_text("two")
    assert current_commit() == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_tag_does_not_hide_the_commit(checkout: Path) -> None:
    git(checkout, "tag", "v1")
    assert current_commit() == git(checkout, "rev-parse", "HEAD")


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert current_commit() is None
