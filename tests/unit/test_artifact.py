import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oodtune.artifact import create_artifact, open_artifact, read_verified, verify_artifact
from oodtune.config import PreprocessConfig
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


def test_a_hash_that_the_stage_knows_is_not_computed_again(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "a", "trial") as writer:
        for name in ("known", "unknown"):
            (writer.path / name).write_text(name)
        writer.hashes["known"] = "0" * 64
    files = open_artifact(tmp_path / "a", "trial", verify=False).manifest.files
    assert files == {"known": "0" * 64, "unknown": hashlib.sha256(b"unknown").hexdigest()}


def test_a_measurement_is_no_part_of_what_an_artifact_is(tmp_path: Path) -> None:
    for name, seconds in (("a", "1.5"), ("b", "2.5")):
        with create_artifact(tmp_path / name, "trial") as writer:
            (writer.path / "weights").write_text("heavy")
            (writer.path / "cost.json").write_text(seconds)
            writer.unlisted.add("cost.json")
    first, second = (open_artifact(tmp_path / name, "trial") for name in ("a", "b"))
    assert first.digest == second.digest
    assert list(first.manifest.files) == ["weights"]
    assert (tmp_path / "b" / "cost.json").read_text() == "2.5"
    (tmp_path / "b" / "cost.json").unlink()
    open_artifact(tmp_path / "b", "trial")


def test_the_first_damaged_file_in_order_is_named(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "a", "trial") as writer:
        for n in range(50):
            (writer.path / f"{n:02}").write_text(str(n))
    (tmp_path / "a" / "31").write_text("altered")
    (tmp_path / "a" / "12").unlink()
    with pytest.raises(ArtifactError, match="12 is missing"):
        open_artifact(tmp_path / "a", "trial")


def test_only_the_named_files_are_verified(tmp_path: Path) -> None:
    write(tmp_path / "a")
    artifact = open_artifact(tmp_path / "a", "trial")
    (tmp_path / "a/sub/file.txt").write_text("hullo")
    verify_artifact(artifact, [])
    with pytest.raises(ArtifactError, match=r"sub/file\.txt is not the file"):
        verify_artifact(artifact, ["sub/file.txt"])


def test_bytes_are_read_only_if_they_are_those_that_were_written(tmp_path: Path) -> None:
    write(tmp_path / "a")
    artifact = open_artifact(tmp_path / "a", "trial")
    assert read_verified(artifact, "sub/file.txt") == b"hello"
    (tmp_path / "a/sub/file.txt").write_text("hullo")
    with pytest.raises(ArtifactError, match=r"sub/file\.txt is not the file.*again with `oodtune train`"):
        read_verified(artifact, "sub/file.txt")
    (tmp_path / "a/sub/file.txt").unlink()
    with pytest.raises(ArtifactError, match=r"sub/file\.txt is missing"):
        read_verified(artifact, "sub/file.txt")


def test_an_altered_file_is_found_also_where_it_was_verified_before(tmp_path: Path) -> None:
    write(tmp_path / "a")
    time.sleep(2.1)  # files that changed a moment ago are never taken as known
    assert open_artifact(tmp_path / "a", "trial", verify="once").digest
    assert (tmp_path / ".a.verified").read_text()
    assert open_artifact(tmp_path / "a", "trial", verify="once").digest
    file = tmp_path / "a/sub/file.txt"
    stat = file.stat()
    file.write_text("hullo")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"sub/file\.txt is not the file that was written"):
        open_artifact(tmp_path / "a", "trial", verify="once")


def begin(out: Path, size: int = 17, resume: bool = True) -> list[str]:
    """Begin an artifact, fail, and return what an earlier run had left."""
    found: list[str] = []
    params = PreprocessConfig(size=size)
    with contextlib.suppress(KeyboardInterrupt), create_artifact(out, "cache", params, resume=resume) as writer:
        found += [path.name for path in (*writer.path.iterdir(), *writer.notes_dir.iterdir())]
        (writer.path / "part").touch()
        (writer.notes_dir / "journal").touch()
        raise KeyboardInterrupt
    return found


def test_an_interrupted_run_is_resumed_by_the_same_run_only(tmp_path: Path) -> None:
    assert begin(tmp_path / "a") == []
    assert begin(tmp_path / "a") == ["part", "journal"]
    assert begin(tmp_path / "a", size=18) == []
    assert begin(tmp_path / "a", size=18) == ["part", "journal"]
    assert begin(tmp_path / "a", size=18, resume=False) == []
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_artifact_is_equal_to_one_made_at_once(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    for out in (tmp_path / "a", tmp_path / "b"):
        with create_artifact(out, "cache", PreprocessConfig(size=17), resume=True) as writer:
            (writer.path / "part").touch()
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", *["manifest.json"] * 2, *["part"] * 2]


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from oodtune.artifact import create_artifact
from oodtune.config import PreprocessConfig
with create_artifact(Path(sys.argv[1]), "cache", PreprocessConfig(size=17), resume=True) as writer:
    (writer.path / "part").touch()
    (writer.notes_dir / "journal").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "a").exists()
    assert begin(tmp_path / "a") == ["part", "journal"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_killed_while_it_puts_its_artifact_in_place_is_finished_by_the_next(tmp_path: Path, moment: str) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from oodtune import artifact
from oodtune.config import PreprocessConfig
replace = artifact._replace_directory
def die(new, out):
    if sys.argv[2] == "after":
        replace(new, out)
    os.kill(os.getpid(), signal.SIGKILL)
artifact._replace_directory = die
with artifact.create_artifact(Path(sys.argv[1]), "cache", PreprocessConfig(size=17), resume=True) as writer:
    (writer.path / "part").touch()
"""
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "a", moment], check=False)
    assert killed.returncode == -9
    for out in (tmp_path / "a", tmp_path / "b"):
        with create_artifact(out, "cache", PreprocessConfig(size=17), resume=True) as writer:
            (writer.path / "part").touch()
    assert open_artifact(tmp_path / "a", "cache").digest == open_artifact(tmp_path / "b", "cache").digest


def test_a_second_writer_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "a", "trial") as first:
        (first.path / "part").touch()
        with (
            pytest.raises(ArtifactError, match="found another process at it"),
            create_artifact(tmp_path / "a", "trial"),
        ):
            pass
    assert list(open_artifact(tmp_path / "a", "trial").manifest.files) == ["part"]
