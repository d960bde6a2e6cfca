"""Servers as processes of their own: when they are ready, what CPU time and memory they take."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.serve_inputs import Post

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LONGEST_START_S: Final = 60.0


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    pid: int
    port: int
    start_s: float
    """From exec to the first 200."""

    def cpu_s(self) -> float:
        """Return the CPU seconds that it and its children have taken."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._tree()) / _TICKS

    def megabytes(self) -> float:
        """Return the most memory that it and its children have held, resident."""
        return sum(_peak_kilobytes(pid) for pid in self._tree()) * 1024 / 1e6

    def _tree(self) -> list[int]:
        parents = {pid: int(_stat(pid)[1]) for pid in _pids()}
        tree = [self.pid]
        for pid in tree:  # it grows
            tree += [child for child, parent in parents.items() if parent == pid]
        return tree


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    name: str, command: Sequence[str | Path], port: int, ready: Post, environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Yield the server that `command` starts on `port`, once `ready` is answered with 200. Exits if it never is."""
    begun_s = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environ or {})},
        start_new_session=True,  # a group, to end with it what its first process leaves behind
    )
    try:
        while fetch_status(port, ready) != 200:
            if process.poll() is not None or time.perf_counter() - begun_s > _LONGEST_START_S:
                sys.exit(f"{name}: expected a server, found none after {_LONGEST_START_S:g} s; run {command}")
            time.sleep(0.01)
        yield Running(name, process.pid, port, time.perf_counter() - begun_s)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def fetch_status(port: int, post: Post) -> int | None:
    """Return the status of the answer to one request, None if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(encode(post))
            words = connection.recv(4096).split(b" ", 2)
        return int(words[1]) if len(words) > 2 else None
    except OSError:
        return None


def encode(post: Post) -> bytes:
    """Return the bytes of the request; without a body, it is a GET."""
    method = "POST" if post.body else "GET"
    headers = {"Host": "localhost", **post.headers, "Content-Length": str(len(post.body))}
    lines = [f"{method} {post.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + post.body


def machine_busy_s() -> float:
    """Return the CPU seconds that everything on this machine has taken, what the host has stolen included."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the name; zeros if it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 20


def _peak_kilobytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
