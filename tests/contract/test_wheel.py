"""What `pip install` brings: everything that the package needs, nothing else, and the same bytes whoever builds it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest

import oodtune
from tests.fixtures.tracked import tracked_names
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

pytestmark = pytest.mark.xdist_group("wheel")

PROJECT_DIR = Path(__file__).parents[2]
HATCHLING = str(Path(sys.executable).with_name("hatchling"))
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src/oodtune")


@dataclass(frozen=True)
class Installed:
    """The wheel, unpacked where no checkout is near."""

    directory: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.directory)}

    def run(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "oodtune", *words]
        return subprocess.run(command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False)


def build(directory: Path, modified_s: int) -> Path:
    """Build from a copy of what git tracks, in a place and with times of its own."""
    for source in SOURCES:
        for name in tracked_names(source):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT_DIR / name, directory / name)
            os.utime(directory / name, (modified_s, modified_s))
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1750000000"}
    command = [HATCHLING, "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    (wheel,) = (directory / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("one"), 1_600_000_000)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    directory = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    yield Installed(directory)


def test_it_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {name.removeprefix("src/") for name in tracked_names("src/oodtune")}
    others = {name for name in names if not name.startswith("oodtune/")}
    assert {name for name in names if name.startswith("oodtune/")} == package
    assert {"oodtune/py.typed", "oodtune/serve/page/index.html", "oodtune/evaluate/page.html.j2"} <= package
    assert {Path(name).name for name in others} == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "LICENSE"}


def test_two_builds_at_other_places_and_times_are_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "another/place", 1_700_000_000)
    assert again.name == wheel.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("METADATA"))
        metadata = message_from_bytes(archive.read(name))
    assert metadata["Version"] == oodtune.__version__
    assert f"-{oodtune.__version__}-" in wheel.name
    places = [
        name
        for name in tracked_names(".")
        if name.endswith((".py", ".toml", ".yaml", ".sh", "Dockerfile"))
        and not name.startswith("tests/")
        and re.search(rf"version(__)?\b.*{re.escape(oodtune.__version__)}\b", (PROJECT_DIR / name).read_text("utf-8"))
    ]
    assert places == ["src/oodtune/__init__.py"]


def test_the_changelog_begins_with_what_is_not_released_or_with_this_version() -> None:
    text = (PROJECT_DIR / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", text, flags=re.MULTILINE)
    assert entries[0][0] in ("Unreleased", oodtune.__version__)
    assert all(day for entry, day in entries if entry != "Unreleased")


def test_what_is_installed_predicts_with_no_checkout_near(installed: Installed, tmp_path: Path) -> None:
    assert installed.run("--version", cwd=tmp_path).stdout.strip() == oodtune.__version__
    (tmp_path / "image.png").write_bytes(encode(random_images(1, seed=0)[0]))
    predicted = installed.run("predict", str(tiny_bundle()), "image.png", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert "cat" in predicted.stdout
    command = [sys.executable, "-P", "-c", "import oodtune; print(oodtune.__file__)"]
    found = subprocess.run(command, env=installed.environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(installed.directory)


@pytest.mark.parametrize("words", [["pipeline", "compile"], ["pipeline", "run", "--local"]], ids=" ".join)
def test_what_takes_a_checkout_says_so(installed: Installed, tmp_path: Path, words: list[str]) -> None:
    shutil.copy(PROJECT_DIR / "params.yaml", tmp_path)
    ended = installed.run(*words, cwd=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "expected" in line
    assert "--project" in line
