import shutil
from pathlib import Path

import pytest

from oodtune.artifact import Artifact, create_artifact, open_artifact
from oodtune.errors import ArtifactError
from oodtune.reference import REFERENCE, read_reference, write_reference


def write_artifact(path: Path, text: str) -> Artifact:
    with create_artifact(path, "cache") as writer:
        (writer.path / "content").write_text(text)
    return open_artifact(path, "cache")


@pytest.fixture
def made(tmp_path: Path) -> Artifact:
    made = write_artifact(tmp_path / "volume" / "cache", "old")
    write_reference(tmp_path / "task" / "out", made.path, made.digest)
    return made


def test_a_reference_opens_as_the_artifact_it_stands_for(made: Artifact, tmp_path: Path) -> None:
    assert open_artifact(tmp_path / "task" / "out", "cache") == made


def test_a_copied_reference_still_opens(made: Artifact, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "task" / "out", tmp_path / "pod" / "in")
    assert open_artifact(tmp_path / "pod" / "in", "cache").path == made.path


def test_a_relative_target_is_found_from_everywhere(
    made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_reference(tmp_path / "out", Path("volume/cache"), made.digest)
    monkeypatch.chdir(tmp_path / "task")
    assert open_artifact(tmp_path / "out", "cache") == made


def test_an_artifact_replaced_since_is_refused_with_both_digests(made: Artifact, tmp_path: Path) -> None:
    new = write_artifact(made.path, "new")
    with pytest.raises(ArtifactError, match=rf"{made.digest[:12]}.* found {new.digest[:12]} .*; run that task again"):
        open_artifact(tmp_path / "task" / "out", "cache")


def test_an_artifact_remade_with_the_same_content_is_taken(made: Artifact, tmp_path: Path) -> None:
    write_artifact(made.path, "old")
    assert open_artifact(tmp_path / "task" / "out", "cache") == made


def test_what_is_behind_a_reference_is_verified(made: Artifact, tmp_path: Path) -> None:
    (made.path / "content").write_text("altered")
    with pytest.raises(ArtifactError, match="content is not the file that was written"):
        open_artifact(tmp_path / "task" / "out", "cache")


def test_a_reference_to_another_kind_is_refused(made: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a 'trial' artifact, found 'cache'"):
        open_artifact(tmp_path / "task" / "out", "trial")


def test_a_reference_to_nothing_says_to_run_the_task_again(made: Artifact, tmp_path: Path) -> None:
    shutil.rmtree(made.path)
    with pytest.raises(ArtifactError, match=rf"{made.digest[:12]}.* found nothing; .* run that task again") as caught:
        open_artifact(tmp_path / "task" / "out", "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b'{"path": "/ca', b"[]", b'{"path": 3, "digest": "0"}', b"\xff\xfe\n"])
def test_a_broken_reference_is_named_in_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / REFERENCE).write_bytes(text)
    with pytest.raises(ArtifactError, match=r"expected a reference to an artifact, .* run the task again") as caught:
        read_reference(tmp_path)
    assert "\n" not in str(caught.value)


def test_artifacts_files_and_nothing_are_no_references(made: Artifact, tmp_path: Path) -> None:
    assert [read_reference(path) for path in (made.path, made.path / "content", tmp_path / "none")] == [None] * 3
