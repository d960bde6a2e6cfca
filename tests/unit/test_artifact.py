import json
from pathlib import Path

import pytest

from oodtune.artifact import create_artifact, open_artifact
from oodtune.errors import ArtifactError


def write(out: Path, text: str = "hello") -> None:
    with create_artifact(out, "trial") as writer:
        (writer.path / "sub").mkdir()
        (writer.path / "sub" / "file.txt").write_text(text, encoding="utf-8")
        writer.details["length"] = len(text)


def test_an_artifact_opens_with_its_details(tmp_path: Path) -> None:
    write(tmp_path / "a")
    artifact = open_artifact(tmp_path / "a", "trial")
    assert artifact.details == {"length": 5}
    assert list(artifact.manifest.files) == ["sub/file.txt"]


def test_equal_content_gives_equal_bytes_anywhere(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "elsewhere" / "b")
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "elsewhere/b/manifest.json").read_bytes()


def test_the_digest_names_inputs_and_content(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", "other")
    first, second = open_artifact(tmp_path / "a", "trial"), open_artifact(tmp_path / "b", "trial")
    assert first.digest != second.digest
    with create_artifact(tmp_path / "c", "soup", inputs={"trial": first}):
        pass
    assert open_artifact(tmp_path / "c", "soup").manifest.inputs == {"trial": first.digest}


def test_a_failure_leaves_what_was_there_before(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with pytest.raises(RuntimeError), create_artifact(tmp_path / "a", "trial") as writer:
        (writer.path / "half").touch()
        raise RuntimeError
    assert open_artifact(tmp_path / "a", "trial").details == {"length": 5}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_new_artifact_replaces_the_old_one_whole(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with create_artifact(tmp_path / "a", "soup"):
        pass
    assert open_artifact(tmp_path / "a", "soup").manifest.files == {}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: (path / "manifest.json").unlink(), "an unfinished directory.*oodtune train"),
        (
            lambda path: (path / "sub/file.txt").write_text("hullo"),
            "sub/file.txt is not the file that was written",
        ),
        (lambda path: (path / "sub/file.txt").unlink(), "sub/file.txt is missing"),
        (lambda path: (path / "manifest.json").write_text("{}"), "expected a manifest of oodtune"),
    ],
)
def test_a_damaged_artifact_is_refused(tmp_path: Path, damage, expected: str) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(ArtifactError, match=expected):
        open_artifact(tmp_path / "a", "trial")


def test_the_wrong_kind_says_which_command_makes_the_right_one(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with pytest.raises(
        ArtifactError, match="expected a 'soup' artifact, found 'trial'; pass the output of `oodtune combine`"
    ):
        open_artifact(tmp_path / "a", "soup")


def test_nothing_at_the_path_says_which_command_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="found nothing; make it with `oodtune prepare`"):
        open_artifact(tmp_path / "a", "dataset")


def test_an_artifact_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a")
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    (tmp_path / "a/manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(ArtifactError, match="expected manifest schema 1, found 99"):
        open_artifact(tmp_path / "a", "trial")
