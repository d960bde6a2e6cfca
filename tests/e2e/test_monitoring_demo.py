"""The demonstration as a user runs it, to its end or until Ctrl-C: nothing is left behind."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fixtures.prometheus import free_port, needs_prometheus
from tests.fixtures.warm.process import warm_bin
from tests.unit.tiny_bundle import DOMAINS, domain_images, encode, random_images, tiny_bundle

pytestmark = [pytest.mark.e2e, needs_prometheus]

PROJECT_DIR = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options that name images of the training domains, and of none."""
    directory = tmp_path_factory.mktemp("images")
    known = [image for domain in DOMAINS for image in domain_images(domain, seed=1)]
    for name, images in {"images": known, "drifted": list(random_images(24, seed=3))}.items():
        (directory / name).mkdir()
        for place, image in enumerate(images):
            (directory / name / f"{place}.png").write_bytes(encode(image))
    return [f"--images={directory / 'images'}", f"--drifted={directory / 'drifted'}"]


@contextmanager
def demonstration(*options: str) -> Iterator[tuple[subprocess.Popen[str], tuple[int, int]]]:
    """Yield the process, with the ports of its server and its Prometheus."""
    ports = free_port(), free_port()
    command = [str(warm_bin() / "python"), "-m", "k8s.monitoring_demo", f"--bundle={tiny_bundle()}", *options]
    command += [f"--port={ports[0]}", f"--prometheus-port={ports[1]}"]
    environ = {**os.environ, "NO_COLOR": "1"}
    process = subprocess.Popen(
        command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )
    try:
        yield process, ports
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=2, trust_env=False)
    except httpx.ConnectError:
        return False
    return True


def test_the_demonstration_sends_both_streams_says_what_prometheus_sees_and_ends(streams: list[str]) -> None:
    with demonstration(*streams, "--minutes=0.1") as (process, ports):
        printed, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert re.search(r"^training domains: .*firing: none$", printed, flags=re.MULTILINE)
    assert "answers by status: {200: 120}" in printed
    assert not any(map(answers, ports))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_server_and_prometheus(streams: list[str], stop: signal.Signals) -> None:
    with demonstration(*streams) as (process, ports):
        assert process.stdout is not None
        assert process.stdout.readline() == f"server: http://127.0.0.1:{ports[0]}\n"
        assert all(map(answers, ports))
        process.send_signal(stop)
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "answers by status" in printed
    assert not any(map(answers, ports))
