"""What docs/data.md tells a reader to do works, word for word. Commands of other pages: test_docs_commands.py."""

import csv
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from oodtune.artifact import Artifact, open_artifact
from oodtune.data.index import read_index
from tests.fixtures.documented.data import IN_DVC_ON_S3
from tests.fixtures.documented.run import run_story
from tests.fixtures.documented.shell import Shell
from tests.fixtures.s3 import S3, draw_images, serve_s3

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("docs")]

PROJECT_DIR = Path(__file__).parents[2]
PAGE = (PROJECT_DIR / "docs/data.md").read_text(encoding="utf-8")
IDS = {f"{domain}/{cls}/{n:03}.png" for domain in ("ink", "oil") for cls in ("cat", "dog") for n in range(4)}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as service, service.use_here():
        yield service


@pytest.fixture
def project(tmp_path: Path, s3: S3) -> Path:
    """Return an empty folder; commands that run in it find the programs and the S3 service."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def read_block(heading: str, language: str) -> str:
    """Return the only block of a language in a section of the page."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    (block,) = re.findall(rf"^( *)```{language}\n(.*?)^\1```", section, flags=re.DOTALL | re.MULTILINE)
    return textwrap.dedent(block[1])


def replace_all(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


def run(command: str, folder: Path) -> str:
    result = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def write_params(folder: Path, block: str) -> None:
    """Write the project's params.yaml with the changes that a block of the page makes."""
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    for section, values in yaml.safe_load(block).items():
        settings[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def prepare(folder: Path) -> Artifact:
    """Run `oodtune prepare`; return the dataset, after a look at whether the domains to hold out are in it."""
    run("oodtune prepare --out dataset", folder)
    dataset = open_artifact(folder / "dataset", "dataset")
    settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    assert set(settings["sweep"]["target_domains"]) <= set(dataset.details["domains"])
    return dataset


def ids_of(dataset: Artifact) -> set[str]:
    return {row.id for row in read_index(dataset.path / "index.csv")}


def draw_domains(folder: Path) -> None:
    for seed, domain in enumerate(("ink", "oil")):
        draw_images(folder / domain, 4, seed)


def test_five_minutes(project: Path) -> None:
    draw_domains(project / "path/to/images")
    write_params(project, read_block("Five minutes", "yaml"))
    run("oodtune data check", project)
    assert (project / ".oodtune/check/check.html").is_file()
    assert ids_of(prepare(project)) == IDS


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_labels_in_a_table(project: Path, source: str) -> None:
    text = read_block("Labels in a table", "csv")
    rows = list(csv.DictReader(StringIO(text)))
    for seed, row in enumerate(rows):
        path = project / "path/to/images" / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    table = project / "path/to/metadata.csv"
    table.write_text(text, encoding="utf-8")
    block = read_block("Labels in a table", "yaml")
    if source == "parquet":
        block = replace_all(block, {"source: csv ": "source: parquet ", "metadata.csv": "metadata.parquet"})
        write_parquet(table, table.with_suffix(".parquet"))
    write_params(project, block)
    dataset = prepare(project)
    assert ids_of(dataset) == {f"{row['camera']}/{row['species']}/{row['file'].replace('/', '__')}" for row in rows}
    splits = {row.id: row.split for row in read_index(dataset.path / "index.csv")}
    first, second = "valley/deer/north__IMG_0001.png", "valley/deer/north__IMG_0002.png"
    assert first in PAGE
    assert splits[first] == splits[second]  # one sequence


def write_parquet(table: Path, out: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.csv.read_csv(table), out)


def test_version_it_with_dvc_on_s3(project: Path, tmp_path: Path, s3: S3) -> None:
    images_dir, server_dir = tmp_path / "images", tmp_path / "images.git"
    draw_domains(images_dir / "data")
    run(f"git init --bare {server_dir}", tmp_path)
    reader = {
        f"GIT_{role}_{what}": "reader@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    s3.client().create_bucket(Bucket="my-bucket")
    addresses = {"git": f"file://{server_dir}", "s3": s3.endpoint_url, "checkout": str(PROJECT_DIR)}
    with Shell(images_dir, {**os.environ, **reader}) as shell:
        run_story(shell, IN_DVC_ON_S3, addresses)
    of_the_git_server = {"https://git.example.com/images.git": addresses["git"]}
    write_params(project, replace_all(read_block("Version it with DVC on S3", "yaml"), of_the_git_server))
    dataset = prepare(project)
    assert ids_of(dataset) == IDS
    for name in IDS:
        assert (dataset.path / "images" / name).read_bytes() == (images_dir / "data" / name).read_bytes()
    commit = run("git rev-parse v1", images_dir).strip()
    assert {origin["version"] for origin in dataset.details["origins"]} == {commit}
