"""A server in a process of its own, as the command line starts it, but warm, and what tests ask it."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
from prometheus_client.parser import text_string_to_metric_families

from oodtune.artifact import create_artifact, open_artifact, write_json
from tests.fixtures.warm.process import warm_bin


@contextmanager
def process(
    *arguments: str, environ: Mapping[str, str] | None = None, stderr: IO[str] | int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Yield a process of `oodtune serve`; it is killed at the end."""
    command = [str(warm_bin() / "oodtune"), "serve", *arguments]
    given = {**(os.environ if environ is None else environ), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=given)
    try:
        yield server
    finally:
        server.kill()
        server.communicate()


@contextmanager
def running(
    *arguments: str, environ: Mapping[str, str] | None = None, stderr: IO[str] | int = subprocess.PIPE
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a server on a free port that is ready, and its address."""
    with process(*arguments, "--port", "0", environ=environ, stderr=stderr) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        match = re.search(r"https?://\S+", line)
        assert match, line + (server.stderr.read() if server.stderr else "")
        yield server, match[0]


def sample(client: httpx.Client, name: str, **labels: str) -> float:
    """Return the value of a metric; 0 if it has none."""
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for one in family.samples:
            if one.name == name and labels.items() <= one.labels.items():
                return one.value
    return 0.0


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def copy_bundle(bundle: Path, out: Path, note: str, change: Mapping[str, Callable[[Path], None]] | None = None) -> Path:
    """Write a bundle like another one, but for a note in its lineage, so that its digest is another.

    `change` alters files, by name, before they are hashed.
    """
    with create_artifact(out, "bundle") as writer:
        for name in open_artifact(bundle, "bundle").manifest.files:
            (writer.path / name).parent.mkdir(parents=True, exist_ok=True)
            (writer.path / name).write_bytes((bundle / name).read_bytes())
        for name, alter in (change or {}).items():
            alter(writer.path / name)
        write_json(writer.path / "lineage.json", {"note": note})
    return out
