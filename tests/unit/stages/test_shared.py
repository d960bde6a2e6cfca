"""Artifacts on a volume that tasks share. A killed training that goes on there: test_planned."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import PreprocessConfig
from oodtune.errors import ArtifactError
from oodtune.reference import read_reference
from oodtune.stages import cache
from oodtune.stages.shared import make_shared
from tests.fixtures.small_cache import write_dataset

SETTINGS = {"params": "{}"}


def writer_of(text: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with create_artifact(path, "cache") as writer:
            (writer.path / "content").write_text(text)

    return make


def make_nothing(path: Path) -> None:
    pytest.fail(f"{path} was made again")


def content(out: Path) -> str:
    return (open_artifact(out, "cache").path / "content").read_text()


def test_what_one_task_made_the_next_one_takes(tmp_path: Path) -> None:
    make_shared(tmp_path / "one", "cache", SETTINGS, writer_of("made"), tmp_path / "volume")
    make_shared(tmp_path / "two", "cache", SETTINGS, make_nothing, tmp_path / "volume")
    assert content(tmp_path / "one") == content(tmp_path / "two") == "made"
    assert read_reference(tmp_path / "one") == read_reference(tmp_path / "two")


def test_other_settings_and_other_kinds_have_places_of_their_own(tmp_path: Path) -> None:
    for name, settings in (("one", SETTINGS), ("two", {"params": '{"size": 3}'})):
        make_shared(tmp_path / name, "cache", settings, writer_of(name), tmp_path / "volume")
    assert [content(tmp_path / name) for name in ("one", "two")] == ["one", "two"]

    def make(path: Path) -> None:
        with create_artifact(path, "init"):
            pass

    make_shared(tmp_path / "three", "init", SETTINGS, make, tmp_path / "volume")
    assert open_artifact(tmp_path / "three", "init")


def test_again_makes_it_anew_and_older_references_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_shared(tmp_path / name, "cache", SETTINGS, writer_of(name), tmp_path / "volume", again=True)
    assert content(tmp_path / "two") == "two"
    with pytest.raises(ArtifactError, match="run that task again"):
        content(tmp_path / "one")


def test_damage_on_the_volume_is_made_good(tmp_path: Path) -> None:
    make_shared(tmp_path / "one", "cache", SETTINGS, writer_of("whole"), tmp_path / "volume")
    (open_artifact(tmp_path / "one", "cache").path / "content").write_text("damaged")
    make_shared(tmp_path / "two", "cache", SETTINGS, writer_of("whole"), tmp_path / "volume")
    assert content(tmp_path / "one") == content(tmp_path / "two") == "whole"


def test_without_a_shared_directory_the_artifact_is_at_out(tmp_path: Path) -> None:
    make_shared(tmp_path / "out", "cache", SETTINGS, writer_of("plain"))
    assert read_reference(tmp_path / "out") is None
    assert (tmp_path / "out" / "content").read_text() == "plain"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing_finished_and_no_reference(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        with create_artifact(path, "cache"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        make_shared(tmp_path / "out", "cache", SETTINGS, make, tmp_path / "volume")
    assert not (tmp_path / "out").exists()
    make_shared(tmp_path / "out", "cache", SETTINGS, writer_of("made"), tmp_path / "volume")
    assert content(tmp_path / "out") == "made"


def test_a_volume_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no volume")
    with pytest.raises(ArtifactError, match="expected a volume that tasks share and can write to") as caught:
        make_shared(tmp_path / "out", "cache", SETTINGS, make_nothing, tmp_path / "file")
    assert "\n" not in str(caught.value)


MAKER = """
import sys, time
from pathlib import Path
from oodtune.artifact import create_artifact
from oodtune.stages.shared import make_shared

folder, me = Path(sys.argv[1]), sys.argv[2]

def make(path):
    print("made")
    with create_artifact(path, "cache") as writer:
        while len(list(folder.glob("*.started"))) < 2:
            time.sleep(0.01)
        time.sleep(0.2)  # the other one is at the lock by now
        (writer.path / "content").write_text("made")

(folder / f"{me}.started").touch()
make_shared(folder / me, "cache", {}, make, folder / "volume")
"""


def test_of_two_processes_at_once_one_waits_and_makes_nothing(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", MAKER, str(tmp_path), name] for name in ("one", "two")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    said = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert said == ["", "made\n"]
    assert content(tmp_path / "one") == content(tmp_path / "two") == "made"
    assert read_reference(tmp_path / "one") == read_reference(tmp_path / "two")


def test_a_stage_on_a_volume_makes_the_bytes_that_it_makes_alone(tmp_path: Path) -> None:
    params = cache.Params(preprocess=PreprocessConfig(size=16))
    dataset = write_dataset(tmp_path / "dataset")
    cache.run(dataset, tmp_path / "alone", params)
    cache.run(dataset, tmp_path / "shared", params, tmp_path / "volume")
    alone, shared = (open_artifact(tmp_path / name, "cache") for name in ("alone", "shared"))
    assert shared.digest == alone.digest
    shutil.rmtree(dataset / "images")  # whatever is read of them now is missing
    cache.run(dataset, tmp_path / "taken", params, tmp_path / "volume")
    assert open_artifact(tmp_path / "taken", "cache") == shared
