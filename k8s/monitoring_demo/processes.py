"""Programs of the demonstration, each in a process of its own that ends with ours."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from oodtune.errors import UserError

_GOODBYE_S: Final = 10.0


@contextmanager
def running(
    command: Sequence[str], ready_url: str, log: Path, timeout_s: float, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that answers `ready_url`; what it prints goes to `log`. It is gone at the end.

    Raises UserError if it ends before it is ready, or is not ready in time, or if another program answers already.
    """
    if _answers(ready_url):
        raise UserError(f"expected a free port, found another program that answers {ready_url}; choose another port")
    with log.open("wb") as stream:
        # A session of its own: Ctrl-C is for us, and we end the others in their order.
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True, env=environ)
    try:
        _await_ready(Path(command[0]).name, process, ready_url, log, timeout_s)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(name: str, process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not _answers(url):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1] if lines else "nothing"
        if process.poll() is not None:
            raise UserError(f"expected {name} to serve {url}; it ended, and said: {last}")
        if time.monotonic() > deadline_s:
            raise UserError(f"expected {name} to answer {url} within {timeout_s:.0f} s; it said: {last}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
