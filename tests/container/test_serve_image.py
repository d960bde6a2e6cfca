"""The serve image, built whole and run: as its own user it serves a bundle, and loses no request when it is ended."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import pytest

from oodtune.artifact import open_artifact
from tests.container.building import Builder, CommandError, run
from tests.unit.serve.running import wait_until
from tests.unit.tiny_bundle import CLASSES, encode, random_images, write_bundle

PORT = 18_471
ADDRESS = f"http://127.0.0.1:{PORT}"
WRITABLE = ("tmp", "home/oodtune", "proc", "sys", "dev", "run", "var/tmp", "etc/hosts", "etc/resolv.conf")
LARGEST_BYTES = 520e6
BODY = encode(random_images(1)[0])


@pytest.fixture(scope="module")
def image(builder: Builder) -> str:
    return builder.build("serve")


@pytest.fixture(scope="module")
def container(builder: Builder, image: str) -> str:
    return builder.container(image)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = write_bundle(tmp_path_factory.mktemp("mounted") / "bundle")
    for path in (found, *found.parents[:2], *found.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return found


@contextmanager
def serving(builder: Builder, container: str, bundle: Path, image: str) -> Iterator[subprocess.Popen[str]]:
    """Yield what an engine would start, once it is ready; the bundle is where KServe mounts one."""
    config = builder.config(image)
    command = builder.command(
        container,
        *config["Entrypoint"],
        *(config["Cmd"] or []),
        mounts=(f"{bundle}:/mnt/models:ro",),
        OODTUNE_LISTEN_PORT=str(PORT),
    )
    process = subprocess.Popen(
        command, env={**os.environ, **builder.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: process.poll() is not None or _is_ready(), 60)
        assert process.poll() is None, process.communicate()[1]
        yield process
    finally:
        process.kill()
        for pid in find_server(container_root=builder.root_dir(container)):
            os.kill(pid, signal.SIGKILL)


def _is_ready() -> bool:
    try:
        return httpx.get(f"{ADDRESS}/v2/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def find_server(container_root: Path) -> list[int]:
    """Return the processes whose root is the container's, but for buildah's own, which takes the others with it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "root").samefile(container_root) and not (path / "cmdline").read_bytes().startswith(b"buildah"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def listing(root_dir: Path) -> dict[str, tuple[int, int]]:
    """Return path -> size and time of change of every file that nobody may write."""
    found = {}
    for directory, names, files in os.walk(root_dir):
        inside = Path(directory).relative_to(root_dir).as_posix()
        names[:] = [name for name in names if f"{inside}/{name}".removeprefix("./") not in WRITABLE]
        for name in files:
            if f"{inside}/{name}".removeprefix("./") not in WRITABLE:
                facts = (Path(directory) / name).lstat()
                found[f"{inside}/{name}"] = (facts.st_size, facts.st_mtime_ns)
    return found


def test_it_serves_a_mounted_bundle_as_its_user_writes_nowhere_else_and_drains(builder, container, bundle, image):
    before = listing(builder.root_dir(container))
    with serving(builder, container, bundle, image) as process, httpx.Client(base_url=ADDRESS, timeout=30) as client:
        answer = client.post("/v1/classify", content=BODY)
        assert answer.status_code == 200
        assert answer.json()["classes"][0]["label"] in CLASSES
        assert answer.json()["model"] == open_artifact(bundle, "bundle").digest
        servers = find_server(builder.root_dir(container))
        users = {line for pid in servers for line in _status(pid) if line.startswith(("Uid", "Gid"))}
        assert users == {"Uid:\t10001\t10001\t10001\t10001", "Gid:\t10001\t10001\t10001\t10001"}
        check = builder.config(image)["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        builder.run(container, *check[1:], OODTUNE_LISTEN_PORT=str(PORT))
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask_until_gone) for _ in range(8)]
            time.sleep(1)
            for pid in servers:
                os.kill(pid, signal.SIGTERM)
            assert [one.result(timeout=60) for one in asked] == [set()] * 8
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert listing(builder.root_dir(container)) == before


def ask_until_gone() -> set[int | str]:
    """Ask until nobody listens; return every answer but 200, and every connection that was cut."""
    others: set[int | str] = set()
    while True:
        connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
        try:
            connection.connect()
        except OSError:
            return others
        try:
            connection.request("POST", "/v1/classify", BODY)
            others |= {connection.getresponse().status} - {200}
        except (OSError, HTTPException) as error:
            return others | {repr(error)}
        finally:
            connection.close()


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()


def test_the_health_check_fails_where_nobody_answers(builder, container, image):
    check = builder.config(image)["Healthcheck"]["Test"][1:]
    with pytest.raises(CommandError):
        builder.run(container, *check, OODTUNE_LISTEN_PORT="18472")


def test_it_has_no_training_library_no_pip_and_no_compiler(builder, container):
    root_dir = builder.root_dir(container)
    packages = {path.name for path in (root_dir / "opt/venv/lib/python3.11/site-packages").iterdir()}
    assert packages.isdisjoint({"torch", "timm", "kfp", "dvc", "pip", "hatchling"})
    assert not (root_dir / "opt/build").exists()
    assert not list(root_dir.glob("usr/bin/gcc*"))
    assert not list(root_dir.glob("var/lib/apt/lists/*_Packages"))


def test_it_is_small(builder, container):
    used = run("du", "--summarize", "--bytes", str(builder.root_dir(container)))
    assert int(used.split()[0]) < LARGEST_BYTES


def test_its_labels_name_version_and_commit_and_nothing_of_the_machine_that_built_it(builder, image):
    config = builder.config(image)
    labels = config["Labels"]
    assert image.endswith(f"{labels['org.opencontainers.image.version']}-{labels['org.opencontainers.image.revision']}")
    assert "ca-certificates" not in str(config)
    assert "PIP" not in str(config["Env"])


def test_commands_that_need_no_bundle_work_inside(builder, container):
    assert "Open Inference Protocol" in builder.run(container, "oodtune", "serve", "--help")
    assert "CPUExecutionProvider" in builder.run(container, "oodtune", "doctor")
