"""`oodtune data check` in a process of its own: text, JSON, a page, and an exit code that a script can use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from oodtune.artifact import open_artifact
from oodtune.config import DataConfig
from oodtune.data.index import read_index
from oodtune.stages import prepare
from tests.fixtures.tiny_sweep import PROJECT_DIR
from tests.unit.data.check.drawn import draw, draw_set

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("data-check")]

OODTUNE = Path(sys.executable).with_name("oodtune")


def run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [OODTUNE, *arguments],
        cwd=directory,
        env={**os.environ, "COLUMNS": "240"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with one defect of each sort."""
    root = draw_set(tmp_path / "images")
    (root / "ink/cat/5.png").write_bytes(b"broken")
    shutil.copyfile(root / "ink/cat/1.png", root / "oil/cat/8.png")
    shutil.copyfile(root / "oil/dog/1.png", root / "oil/cat/9.png")
    draw(2).save(root / "ink/cat/7.jpg", quality=70)
    return root


def test_a_folder_is_checked_without_any_settings(root: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = run(tmp_path, "data", "check", "images")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the images are refused: images that cannot be read: 1 (ink/cat/5.png")
    assert "oil/cat/9.png = oil/dog/1.png" in done.stdout
    assert "ink/cat/1.png = oil/cat/8.png" in done.stdout
    report = json.loads((tmp_path / ".oodtune/check/check.json").read_text())
    counts = {finding["kind"]: finding["count"] for finding in report["findings"] if finding["count"]}
    expected = ("unreadable", "label_conflicts", "duplicates_across_domains", "near_duplicates")
    assert counts == dict.fromkeys(expected, 1)
    assert "<title>" in (tmp_path / ".oodtune/check/check.html").read_text()
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_what_is_dropped_is_listed_and_is_not_in_the_dataset(root: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    kinds = ("unreadable", "label_conflicts", "duplicates_across_domains", "near_duplicates")
    checks = dict.fromkeys(kinds, "drop")
    settings["data"].update(source="folder", root="images", checks=settings["data"]["checks"] | checks)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    assert run(tmp_path, "data", "check").returncode == 0
    done = run(tmp_path, "prepare", "--out", "dataset")
    assert done.returncode == 0, done.stderr
    dataset = open_artifact(tmp_path / "dataset", "dataset")
    report = json.loads((dataset.path / "check.json").read_text())
    dropped = sorted(image_id for finding in report["findings"] for image_id in finding["dropped"])
    assert dropped == [
        "ink/cat/1.png",
        "ink/cat/5.png",
        "ink/cat/7.jpg",
        "oil/cat/8.png",
        "oil/cat/9.png",
        "oil/dog/1.png",
    ]
    held = {path.relative_to(dataset.path / "images").as_posix() for path in (dataset.path / "images").glob("*/*/*")}
    given = {path.relative_to(root).as_posix() for path in root.glob("*/*/*")}
    assert held == given - set(dropped) == {row.id for row in read_index(dataset.path / "index.csv")}
    assert dataset.details["dropped"] == 6
    assert not (tmp_path / "dataset.check").exists()


def test_a_dataset_is_the_same_wherever_its_images_lie(tmp_path: Path) -> None:
    digests = set()
    for place in ("here", "there"):
        images = draw_set(tmp_path / place / "images")
        config = DataConfig(source="folder", root=images)
        prepare.run(tmp_path / place / "dataset", prepare.Params(data=config), tmp_path)
        digests.add(open_artifact(tmp_path / place / "dataset", "dataset").digest)
    assert len(digests) == 1
