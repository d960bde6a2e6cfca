"""A machine that builds images without an engine: buildah, in a chroot, on a base that debootstrap makes.

There is no registry to take a base from. The first run makes one, which takes a minute, and keeps it.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.building import Builder, CommandError, run

CACHE_DIR = Path(os.environ.get("OODTUNE_TEST_CACHE", Path.home() / ".cache/oodtune-tests"))
BASE = "localhost/oodtune-test-base:bookworm"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.container)
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Return what builds and runs images; its store goes at the end. Skips where none can be built."""
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian: apt-get install buildah debootstrap)")
    if os.geteuid() != 0:
        pytest.skip("needs root: debootstrap and a chroot")
    store_dir = tmp_path_factory.mktemp("containers")
    found = Builder(store_dir, BASE)
    base_dir = store_dir / "base"
    base_dir.mkdir()
    (base_dir / "Dockerfile").write_text("FROM scratch\nADD base.tar /\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\n")
    try:
        shutil.copy(_make_base(), base_dir / "base.tar")
        found.buildah("build", "--isolation", "chroot", "--tag", BASE, str(base_dir))
        found.run(found.container(BASE), "apt-get", "update")
    except CommandError as error:
        shutil.rmtree(store_dir, ignore_errors=True)
        pytest.skip(f"no image can be built here: {str(error)[-300:]}")
    shutil.rmtree(base_dir)
    yield found
    found.buildah("rm", "--all")
    shutil.rmtree(store_dir, ignore_errors=True)


def _make_base() -> Path:
    """Return an archive of Debian's smallest system."""
    archive = CACHE_DIR / "base.tar"
    if not archive.is_file():
        CACHE_DIR.mkdir(parents=True, exist_ok=True)
        root_dir = CACHE_DIR / "rootfs"
        shutil.rmtree(root_dir, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root_dir))
        for name in ("var/lib/apt/lists", "var/cache/apt/archives"):
            shutil.rmtree(root_dir / name)
            (root_dir / name / "partial").mkdir(parents=True)
        run("tar", "-C", str(root_dir), "-cf", f"{archive}.partial", ".")
        Path(f"{archive}.partial").replace(archive)
        shutil.rmtree(root_dir)
    return archive
