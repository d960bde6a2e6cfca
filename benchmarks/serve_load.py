"""Load on a server: closed loops by wrk, and an open one whose requests do not wait for answers.

wrk has no open loop; as a program, this file is that generator: one request a line of the plan, at its own time.
"""

import asyncio
import heapq
import json
import math
import random
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.serve_inputs import Post
from benchmarks.serve_limit import Speed
from benchmarks.serve_processes import Running, encode, machine_busy_s

_SCRIPT: Final = """
local file = io.open("%(body)s", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
%(headers)s
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int clock, moment *at);")
local at, log = ffi.new("moment"), io.open("%(log)s", "a")
function response(status)
  if status >= 300 then return end
  ffi.C.clock_gettime(1, at)
  log:write(string.format("%%.6f\\n", tonumber(at.s) + tonumber(at.ns) / 1e9))
  log:flush()
end
function done(summary, latency)
  local wrong = summary.errors
  io.write(string.format('\\n{"failed":%%d,"p50_s":%%f,"p99_s":%%f}\\n',
    wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""
_LONGEST_ANSWER_S: Final = 30.0
_EDGE_S: Final = 0.5
"""At each end of a load, in which nothing is measured: clients connect, and break off."""

Arrivals = Literal["random", "paced"]
"""Of an open loop: a Poisson process, as of many clients who know nothing of each other, or one every so often, as of
wrk2 or of k6's constant arrival rate."""


@dataclass(frozen=True)
class Closed:
    """What clients saw who wait for one answer before they ask again."""

    speed: Speed
    p50_s: float
    p99_s: float
    failed: int


@dataclass(frozen=True)
class Open:
    """What clients saw who come at `per_second` and wait for nobody. Latency counts from when they came."""

    per_second: float
    requests: int
    failed: int
    p50_s: float
    p95_s: float
    p99_s: float
    others: float = 0.0
    """CPUs that neither server nor generator had meanwhile: other processes, or the host."""
    generator: float = 0.0
    """CPUs that the generator took."""


def run_wrk(server: Running, post: Post, connections: int, seconds: float, directory: Path) -> Closed:
    """Load `server` with so many connections; its speed is that of the middle `seconds`, all else of the whole load.

    Speed counts what succeeded. CPU seconds are those of the server's whole tree of processes. As many requests are
    under way when the middle begins as when it ends, so that what is not answered yet is no cost without an answer.
    """
    body = directory / "body"
    body.write_bytes(post.body)
    log = directory / "answered"
    log.unlink(missing_ok=True)
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in post.headers.items())
    script = directory / "wrk.lua"
    script.write_text(_SCRIPT % {"body": body, "headers": headers, "log": log}, encoding="utf-8")
    url = f"http://127.0.0.1:{server.port}{post.path}"
    whole = f"-d{math.ceil(seconds + 2 * _EDGE_S)}s"
    command = ["wrk", "-t1", f"-c{connections}", whole, "--timeout", "30s", "-s", str(script), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(_EDGE_S)
        begun_s, begun_cpu_s = time.monotonic(), server.cpu_s()
        time.sleep(seconds)
        ended_s, ended_cpu_s = time.monotonic(), server.cpu_s()
        printed, _ = process.communicate()
    if process.returncode:
        sys.exit(f"wrk: exited with {process.returncode}; run {command}")
    found = json.loads(printed.splitlines()[-1])
    answered = sum(begun_s < float(line) <= ended_s for line in log.read_text().splitlines())
    speed = Speed(answered / (ended_s - begun_s), (ended_cpu_s - begun_cpu_s) / max(1, answered))
    return Closed(speed, found["p50_s"], found["p99_s"], found["failed"])


def run_open_loop(
    server: Running, post: Post, per_second: float, seconds: float, directory: Path, arrivals: Arrivals = "random"
) -> Open:
    """Load `server` by a process of its own that waits for no answer. 0 a second: one client, in a closed loop."""
    request = directory / "request"
    request.write_bytes(encode(post))
    command = [sys.executable, "-m", "benchmarks.serve_load"]
    busy_s, server_s, begun_s = machine_busy_s(), server.cpu_s(), time.perf_counter()
    arguments = [str(request), str(server.port), str(per_second), str(seconds), arrivals]
    printed = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout
    spent_s = time.perf_counter() - begun_s
    found = json.loads(printed)
    generator = found.pop("cpu_s") / spent_s
    others = (machine_busy_s() - busy_s - (server.cpu_s() - server_s)) / spent_s - generator
    return Open(**found, others=max(0.0, others), generator=generator)


class _Generator:
    """Keeps connections open and takes a new one if all are waiting for an answer."""

    def __init__(self, request: bytes, port: int) -> None:
        self._request = request
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._latencies_s: list[float] = []
        self._failed = 0

    async def run(self, per_second: float, seconds: float, arrivals: Arrivals) -> Open:
        loop = asyncio.get_running_loop()
        for _ in range(5):
            await self._ask(loop.time())
        self._latencies_s.clear()
        begun_s = loop.time()
        if per_second:
            await self._arrive(per_second, seconds, arrivals)
        else:
            while loop.time() - begun_s < seconds:
                await self._ask(loop.time())
        ordered = sorted(self._latencies_s) or [float("inf")]
        p50_s, p95_s, p99_s = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95, 0.99))
        asked = len(self._latencies_s) + self._failed
        return Open(asked / seconds, asked, self._failed, p50_s, p95_s, p99_s)

    async def _arrive(self, per_second: float, seconds: float, arrivals: Arrivals) -> None:
        loop, chance = asyncio.get_running_loop(), random.Random(0)  # noqa: S311
        begun_s = at_s = loop.time()
        asked = []
        while (at_s := at_s + (chance.expovariate(per_second) if arrivals == "random" else 1 / per_second)) < (
            begun_s + seconds
        ):
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            asked.append(asyncio.create_task(self._ask(at_s)))
        await asyncio.gather(*asked)

    async def _ask(self, came_s: float) -> None:
        try:
            async with asyncio.timeout(_LONGEST_ANSWER_S):
                status = await self._exchange()
        except (OSError, EOFError, TimeoutError):
            status = 0
        if status == 200:
            self._latencies_s.append(asyncio.get_running_loop().time() - came_s)
        else:
            self._failed += 1

    async def _exchange(self) -> int:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1])


def main() -> None:
    request, port, per_second, seconds, arrivals = sys.argv[1:]
    generator = _Generator(Path(request).read_bytes(), int(port))
    begun_s = time.process_time()
    run = generator.run(float(per_second), float(seconds), "paced" if arrivals == "paced" else "random")
    found: dict[str, Any] = asdict(asyncio.run(run))
    del found["others"], found["generator"]
    print(json.dumps({**found, "cpu_s": time.process_time() - begun_s}))


def ideal_p99(load: float, num_workers: int, requests: int = 200_000) -> float:
    """Return p99 of an ideal server's latency in units of its service time: Poisson arrivals at `load`, a share of what
    `num_workers` can do, each request the same work, no other cost (M/D/c, simulated)."""
    generator = random.Random(0)  # noqa: S311  no secret
    free, at, latencies = [0.0] * num_workers, 0.0, []
    for _ in range(requests):
        at += generator.expovariate(load * num_workers)
        begins = max(at, heapq.heappop(free))
        heapq.heappush(free, begins + 1.0)
        latencies.append(begins + 1.0 - at)
    return statistics.quantiles(latencies, n=100)[98]


if __name__ == "__main__":
    main()
