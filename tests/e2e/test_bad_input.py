"""Bad input is one line on stderr and exit code 2, and leaves finished artifacts as they were."""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from oodtune.artifact import open_artifact
from tests.fixtures.tiny_sweep import tiny_settings, write_settings
from tests.fixtures.warm.process import warm_bin

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bad-input")]


def oodtune(*arguments: str) -> list[str]:
    return [str(warm_bin() / "oodtune"), *arguments]


def fail(directory: Path, *arguments: str, **environment: str) -> str:
    """Run a command that must fail; return the one line it says."""
    result = subprocess.run(
        oodtune(*arguments),
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def make_folder(root: Path) -> None:
    for place, domain in enumerate(("ink", "oil", "line")):
        for cls in ("cat", "dog"):
            folder = root / domain / cls
            folder.mkdir(parents=True)
            for n in range(4):
                colour = (n * 60, place * 100, 20 * ord(cls[0]) % 256)
                Image.new("RGB", (40, 30), colour).save(folder / f"{n}.png")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project over a folder of images, with a finished dataset."""
    make_folder(tmp_path / "images")
    settings = tiny_settings(
        tmp_path,
        data={"source": "folder", "root": "images"},
        sweep={"target_domains": ["ink", "oil"]},
        select={"target_domain": "ink"},
    )
    write_settings(tmp_path / "params.yaml", settings)
    subprocess.run(oodtune("prepare", "--out", "dataset"), cwd=tmp_path, check=True)
    return tmp_path


def change(project: Path, section: str, **values: object) -> None:
    settings = tiny_settings(
        project,
        data={"source": "folder", "root": "images"},
        sweep={"target_domains": ["ink", "oil"]},
        select={"target_domain": "ink"},
    )
    settings[section].update(values)
    write_settings(project / "params.yaml", settings)


def test_a_class_missing_in_one_domain(project: Path) -> None:
    before = open_artifact(project / "dataset", "dataset").digest
    for path in (project / "images/oil/dog").iterdir():
        path.unlink()
    assert "oil/dog" in fail(project, "prepare", "--out", "dataset")
    assert open_artifact(project / "dataset", "dataset").digest == before


def test_an_unreadable_image(project: Path) -> None:
    before = open_artifact(project / "dataset", "dataset").digest
    (project / "images/oil/dog/2.png").write_bytes(b"not an image")
    line = fail(project, "prepare", "--out", "dataset")
    assert "images that cannot be read: 1 (oil/dog/2.png" in line
    assert "dataset.check/check.html shows all of them" in line
    assert "oil/dog/2.png" in (project / "dataset.check/check.html").read_text()
    assert open_artifact(project / "dataset", "dataset").digest == before


def test_images_that_are_not_the_benchmark_they_are_said_to_be(project: Path) -> None:
    change(project, "data", recipe="pacs")
    line = fail(project, "prepare", "--out", "dataset")
    assert "PACS: expected the domains art_painting, cartoon, photo, sketch" in line


def test_an_unknown_key(project: Path) -> None:
    change(project, "train", stesp=3)
    assert "unknown key 'train.stesp'" in fail(project, "prepare", "--out", "dataset")


def test_a_wrong_range(project: Path) -> None:
    change(project, "preprocess", size=3)
    assert "preprocess.size" in fail(project, "cache", "--dataset", "dataset", "--out", "cache")


def test_an_unknown_backbone(project: Path) -> None:
    subprocess.run(oodtune("cache", "--dataset", "dataset", "--out", "cache"), cwd=project, check=True)
    change(project, "backbone", name="tf_efficientnet_lite00", weights="bundled")
    line = fail(project, "init", "--cache", "cache", "--out", "init")
    assert "tf_efficientnet_lite0" in line
    assert not (project / "init").exists()


def test_no_npm_registry_to_be_reached(project: Path) -> None:
    change(project, "data", source="emoji-domains", root=None)
    before = open_artifact(project / "dataset", "dataset").digest
    line = fail(project, "prepare", "--out", "dataset", npm_config_registry="http://127.0.0.1:9")
    assert "@iconify-json" in line
    assert open_artifact(project / "dataset", "dataset").digest == before


def test_a_missing_settings_file(tmp_path: Path) -> None:
    assert "params.yaml" in fail(tmp_path, "prepare", "--out", "dataset")


def test_an_artifact_of_another_kind(project: Path) -> None:
    line = fail(project, "select", "--predictions", "dataset", "--out", "selection")
    assert "expected a 'predictions' artifact, found 'dataset'" in line


def test_an_option_that_does_not_exist(tmp_path: Path) -> None:
    result = subprocess.run(oodtune("train", "--sead", "3"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--seed" in result.stderr
