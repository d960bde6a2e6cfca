"""The raw limit: this project's decoding and ONNX Runtime in a loop, in a process of its own, without a server.

As a program, it reads lines {"batch": 4, ...} (see `Setup`, and "seconds") and answers each with a line of figures.
"""

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from oodtune.bundle import open_bundle
from oodtune.cpus import count_cpus
from oodtune.preprocess import read_pixels

_TRIAL_S: Final = 0.7


@dataclass(frozen=True)
class Setup:
    """How the loop runs."""

    threads: int
    intra_op: int
    batch: int
    decodes: bool
    """JPEGs, or pixels that are there already: then it only copies them."""


@dataclass(frozen=True)
class Speed:
    """What a second of a run did."""

    per_second: float
    """Images, or requests."""
    cpu_s: float
    """CPU seconds for one."""


class Limit:
    """The process that measures the raw limit; it sleeps while it is not asked."""

    def __init__(self, bundle: Path, jpeg: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.serve_limit", str(bundle), str(jpeg)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._best: dict[tuple[int, bool], Setup] = {}

    def measure(self, setup: Setup, seconds: float) -> Speed:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({**asdict(setup), "seconds": seconds}), file=self._process.stdin, flush=True)
        return Speed(**json.loads(self._process.stdout.readline()))

    def find_best(self, connections: int, decodes: bool, batches: tuple[int, ...]) -> Setup:
        """Return the setup of least CPU time per image of those that use as many cores as the server may.

        That is all of them, or as many as there are connections: an image takes less of a core whose neighbours idle.
        """
        if (connections, decodes) not in self._best:
            cpus = count_cpus()
            setups = [
                Setup(threads, intra_op, batch, decodes)
                for threads, intra_op in {(min(cpus, connections), 1), (1, cpus)}
                for batch in batches
                if threads * batch <= connections
            ]
            self._best[connections, decodes] = min(setups, key=lambda one: self.measure(one, _TRIAL_S).cpu_s)
        return self._best[connections, decodes]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class _Loop:
    def __init__(self, bundle: Path, jpeg: bytes) -> None:
        self._bundles = {intra_op: open_bundle(bundle, num_threads=intra_op) for intra_op in {1, count_cpus()}}
        self._jpeg = jpeg

    def run(self, setup: Setup, seconds: float) -> Speed:
        bundle = self._bundles[setup.intra_op]
        config = bundle.preprocess
        known, _ = read_pixels(self._jpeg, config)  # (S, S, 3)
        counts = [0] * setup.threads
        end_s = time.perf_counter() + seconds

        def work(place: int) -> None:
            while time.perf_counter() < end_s:
                each = range(setup.batch)
                images = [read_pixels(self._jpeg, config)[0] if setup.decodes else known for _ in each]
                bundle.run(np.stack(images))
                counts[place] += setup.batch

        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        threads = [threading.Thread(target=work, args=(place,)) for place in range(setup.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        images = sum(counts)
        return Speed(images / (time.perf_counter() - begun_s), (time.process_time() - begun_cpu_s) / images)


def main() -> None:
    loop = _Loop(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes())
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        seconds = asked.pop("seconds")
        print(json.dumps(asdict(loop.run(Setup(**asked), seconds))), flush=True)


if __name__ == "__main__":
    main()
