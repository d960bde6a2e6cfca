"""The cache of 370 MB is built and read by processes that may not have 160 MB, and a killed build goes on.

RLIMIT_DATA counts what a process has of its own: heap, stacks of threads, private mappings. It does not count
the page cache, nor files mapped to be read, which the system takes back when it needs the memory.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from oodtune.artifact import open_artifact
from oodtune.config import load_config
from oodtune.data.decode import plan_chunks
from oodtune.data.index import read_index
from tests.fixtures.small_cache import write_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("cache")]

PROJECT_DIR = Path(__file__).parents[2]
OODTUNE = Path(sys.executable).with_name("oodtune")
BUILD = [OODTUNE, "cache", "--dataset", "dataset", "--out"]
LIMIT_BYTES = 160_000_000
"""Python, numpy and Pillow have 70 MB; two threads have 16 MB of stacks and 16 MB of chunks."""
SIZE = 256

READ = """
import sys
from pathlib import Path
import numpy as np
from oodtune.data.cache import open_cache
cache = open_cache(Path("whole"))
examples = cache.examples("ink", "in")
generator = np.random.default_rng(0)
for _ in range(50):
    batch = examples.images[generator.integers(0, len(examples.ids), 64)]
    assert batch.shape == (64, 256, 256, 3)
all_at_once = [cache.examples(domain, "in").images[:] for domain in cache.domains] if "all" in sys.argv else []
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a directory with 1,980 small images, and the cache of them, built under the limit."""
    directory = tmp_path_factory.mktemp("cache")
    write_dataset(directory / "dataset", per_cell=330)
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    settings["preprocess"]["size"] = SIZE
    (directory / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert run_limited([*BUILD, "whole"], directory) == ""
    yield directory
    shutil.rmtree(directory)  # pytest would keep the last three


def run_limited(command: list[Path | str], directory: Path) -> str:
    """Run a command with at most LIMIT_BYTES of its own memory, on at most two CPUs; return what it complains of."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=directory, env=environment, preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert (result.returncode == 0) == (result.stderr == ""), result.stderr
    return result.stderr


def test_a_cache_of_twice_the_memory_is_built_whole(project: Path) -> None:
    artifact = open_artifact(project / "whole", "cache")
    sizes = [(artifact.path / name).stat().st_size for name in artifact.manifest.files]
    assert sum(sizes) > 2 * LIMIT_BYTES


def test_batches_of_a_cache_of_twice_the_memory_are_read(project: Path) -> None:
    assert run_limited([sys.executable, "-c", READ], project) == ""


def test_the_limit_is_one_that_a_copy_of_the_in_splits_breaks(project: Path) -> None:
    assert "Unable to allocate" in run_limited([sys.executable, "-c", READ, "all"], project)


def test_a_killed_build_goes_on_without_the_images_that_it_had_decoded(project: Path) -> None:
    journal = project / ".killed.partial" / "notes" / "decoded"
    process = subprocess.Popen([*BUILD, "killed"], cwd=project)
    while not (journal.is_file() and len(journal.read_text().splitlines()) > 8):
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (project / "killed").exists()

    noted = {int(line.split()[0]) for line in journal.read_text().split("\n")[1:-1]}
    chunks = plan_chunks(
        read_index(project / "dataset/index.csv"), load_config(project / "params.yaml").preprocess.size
    )
    decoded = [image_id for chunk in chunks if chunk.number in noted for image_id in chunk.ids]
    assert 0 < len(decoded) < 1980
    for image_id in decoded:
        (project / "dataset/images" / image_id).unlink()

    subprocess.run([*BUILD, "killed"], cwd=project, check=True)
    killed, whole = open_artifact(project / "killed", "cache"), open_artifact(project / "whole", "cache")
    assert killed.digest == whole.digest  # of the manifest, that is of every file
    assert not journal.exists()
