"""Which commit of the data a run is about: of a real repository of git and DVC."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from oodtune.config import DataConfig, DvcConfig
from oodtune.errors import ConfigError, UserError
from oodtune.stages import revision

Git = Callable[..., str]


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Git:
    """Return a function that runs git in a repository with one commit, tagged v1, on the branch main."""
    from dvc.repo import Repo

    directory = tmp_path_factory.mktemp("repository")
    person = ["-c", "user.name=t", "-c", "user.email=t@localhost"]

    def run(*arguments: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        command = ["git", *person, *arguments]
        return subprocess.run(
            command, cwd=directory, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    run("init", "-b", "main")
    Repo.init(str(directory)).close()
    run("add", "--all")
    run("commit", "-m", "first")
    run("tag", "-a", "v1", "-m", "the first")
    return run


def resolve(git: Git, rev: str, data_rev: str = "") -> str:
    config = DataConfig(source="dvc", dvc=DvcConfig(url=git("rev-parse", "--show-toplevel"), rev=rev, path="data"))
    return revision.run(revision.Params(data=config), data_rev)


def test_a_tag_a_branch_and_a_commit_are_one_commit(git: Git) -> None:
    commit = git("rev-parse", "main")
    assert [resolve(git, rev) for rev in ("v1", "main", commit[:10], commit)] == [commit] * 4


def test_a_tag_that_moved_is_another_commit(git: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    git("tag", "moving")
    before = resolve(git, "moving")
    git("commit", "--allow-empty", "-m", "more")
    git("tag", "-f", "moving")
    assert resolve(git, "moving") == git("rev-parse", "HEAD") != before
    assert list(tmp_path.iterdir()) == []


def test_a_revision_of_the_run_goes_before_that_of_the_settings(git: Git) -> None:
    git("branch", "later")
    git("commit", "--allow-empty", "-m", "even more")
    assert resolve(git, "later", "main") == git("rev-parse", "main") != resolve(git, "later")


def test_a_revision_that_is_not_there_is_one_line(git: Git) -> None:
    with pytest.raises(UserError, match="expected a DVC repository with this revision") as caught:
        resolve(git, "v9")
    assert "\n" not in str(caught.value)


def test_data_without_revisions_has_none_and_can_be_asked_for_none() -> None:
    params = revision.Params(data=DataConfig(source="synthetic"))
    assert revision.run(params) == ""
    with pytest.raises(ConfigError, match="found synthetic, which has no revisions; leave the revision out"):
        revision.run(params, "v1")
