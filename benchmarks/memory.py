"""Peak memory of building a cache and of reading random batches from it.

    python -m benchmarks.memory --gigabytes 5

Private memory (RssAnon) is what a process has of its own. VmHWM counts mapped pages of files, too, which the
system takes back when it needs the memory. Exits with 1 if a target is missed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import describe_machine, write_figures
from benchmarks.ratio import Bound
from benchmarks.settings import write_settings
from oodtune.artifact import create_artifact
from oodtune.data.index import IndexRow, Split, write_index
from oodtune.parallel import map_in_threads

OODTUNE = Path(sys.executable).with_name("oodtune")
DOMAINS = ("clay", "ink", "oil", "wax")
CLASSES = ("cat", "dog")
SIZE = 256
MOST_MEGABYTES = 160.0
"""Of its own, for any size of cache: the hard limit of tests/e2e/test_cache.py."""

READ = """
import sys
from pathlib import Path
import torch
from oodtune.data.batches import StreamedBatches
from oodtune.data.sampling import Sampling
from oodtune.data.cache import open_cache
from oodtune.stages import feed
print(Path("/proc/self/status").read_text(), flush=True)
cache = open_cache(Path(sys.argv[1]))
sources = [cache.examples(domain, "in") for domain in cache.domains[1:]]
sampling = Sampling(tuple(len(one.labels) for one in sources), batch_per_domain=32, seed=0)
batches = StreamedBatches(sources, sampling, torch.device("cpu"))
for step in range(int(sys.argv[2])):
    assert batches.draw(step).images.shape == (96, 256, 256, 3)
batches.close()
"""


@dataclass
class Peak:
    """The highest values seen while a process ran, in MB."""

    seconds: float = 0.0
    megabytes: dict[str, float] = field(default_factory=dict)

    def add(self, status: str) -> None:
        for name, value in read_status(status).items():
            self.megabytes[name] = max(value, self.megabytes.get(name, 0.0))


def read_status(status: str) -> dict[str, float]:
    """Return name -> MB of the lines of /proc/<pid>/status that tell of memory."""
    found = re.findall(r"^(VmHWM|RssAnon|VmData):\s+(\d+) kB$", status, re.MULTILINE)
    return {name: int(kilobytes) * 1024 / 1e6 for name, kilobytes in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the cache")
    parser.add_argument("--batches", type=int, default=300, help="random batches of 96 images to read")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    per_cell = round(options.gigabytes * 1e9 / (SIZE * SIZE * 3 * len(DOMAINS) * len(CLASSES)))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_settings(directory, preprocess={"size": SIZE})
        started = time.perf_counter()
        write_dataset(directory / "dataset", per_cell)
        num_images = per_cell * len(DOMAINS) * len(CLASSES)
        print(f"{num_images:,} images written in {time.perf_counter() - started:.0f} s")
        build = watch([OODTUNE, "cache", "--dataset", "dataset", "--out", "cache"], directory)
        cache_bytes = sum(path.stat().st_size for path in (directory / "cache").rglob("*.npy"))
        print(f"cache: {cache_bytes / 1e9:.2f} GB, {num_images / build.seconds:,.0f} images/s on {os.cpu_count()} CPUs")
        show("building", build)
        read = watch([sys.executable, "-c", READ, "cache", str(options.batches)], directory)
        torch_alone = Peak(megabytes=read_status((directory / "stdout").read_text()))
        show("torch alone", torch_alone)
        show(f"reading {options.batches} batches", read)
    peaks = {"building": build, "torch alone": torch_alone, "reading": read}
    bounds = [
        Bound("building the cache", build.megabytes["RssAnon"], MOST_MEGABYTES, "MB"),
        Bound(
            "reading batches, beyond torch alone",
            read.megabytes["RssAnon"] - torch_alone.megabytes["RssAnon"],
            MOST_MEGABYTES,
            "MB",
        ),
    ]
    print(*bounds, sep="\n", flush=True)
    machine = describe_machine("oodtune", "torch", "numpy", "pillow")
    write_figures(options, machine, (), bounds, cache_bytes=cache_bytes, peaks={n: asdict(p) for n, p in peaks.items()})
    sys.exit(not all(one.met for one in bounds))


def show(what: str, peak: Peak) -> None:
    megabytes = ", ".join(f"{name} {value:,.0f} MB" for name, value in sorted(peak.megabytes.items()))
    print(f"{what}: {megabytes}" + (f" in {peak.seconds:.1f} s" if peak.seconds else ""))


def watch(command: Sequence[Path | str], directory: Path) -> Peak:
    """Run a command in `directory`, its output in the file `stdout` there; look at its memory 50 times a second."""
    peak, started = Peak(), time.perf_counter()
    with (directory / "stdout").open("w") as stdout, running(command, directory, stdout.fileno()) as process:
        while process.poll() is None:
            peak.add(Path(f"/proc/{process.pid}/status").read_text())
            time.sleep(0.02)
    peak.seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{command[0]} failed with {process.returncode}")
    return peak


@contextmanager
def running(command: Sequence[Path | str], directory: Path, stdout: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, cwd=directory, stdout=stdout)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def write_dataset(out: Path, per_cell: int) -> None:
    """Write a `dataset` of JPEG images, 320 pixels wide and 240 high, of coloured clouds."""
    splits: tuple[Split, ...] = ("out", "in", "in", "in", "in")
    with create_artifact(out, "dataset") as writer:
        rows = [
            IndexRow(f"{domain}/{name}/{i:06}.jpg", domain, name, splits[i % 5])
            for domain in DOMAINS
            for name in CLASSES
            for i in range(per_cell)
        ]
        for domain in DOMAINS:
            for name in CLASSES:
                (writer.path / "images" / domain / name).mkdir(parents=True)
        paths = [writer.path / "images" / row.id for row in rows]
        for _ in map_in_threads(lambda numbered: write_image(*numbered), enumerate(paths)):
            pass
        write_index(rows, writer.path / "index.csv")
        writer.details.update(domains=list(DOMAINS), classes=list(CLASSES), origins=[])


def write_image(number: int, path: Path) -> None:
    clouds = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(clouds).resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=90)


if __name__ == "__main__":
    main()
