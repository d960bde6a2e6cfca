"""`oodtune serve` against its raw limit, and against other servers: CPU time, latency, memory, start.

    python -m benchmarks.serve
    python -m benchmarks.serve --peer litserve --peer triton

The raw limit is this project's decoding and ONNX Runtime in a loop without a server, in the best of several setups,
measured just before and just after every run of the server. It uses as many cores as the server may, or as there are
connections, and its threads times its batch are no more than the connections: nobody can run what nobody has sent. A
ratio is CPU seconds per image of that limit by CPU seconds per request of the server's whole tree of processes, the
median over such pairs; wrk, which asks, is not in it. A tensor's limit has no decoding: it needs none.

The model has random weights. Exits with 1 if a target is missed; needs `wrk` (apt install wrk).
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

from benchmarks.figures import describe_machine, write_figures
from benchmarks.ratio import Bound, Ratio, ratio_of_pairs
from benchmarks.serve_inputs import PAYLOADS, Payload, Post, draw_jpeg, make_post, write_bundle
from benchmarks.serve_limit import Limit, Setup
from benchmarks.serve_load import Arrivals, Open, ideal_p99, run_open_loop, run_wrk
from benchmarks.serve_parts import Parts, parts_between, read_counted
from benchmarks.serve_peers import PACKAGES, peer_post, running_peer
from benchmarks.serve_processes import Running, fetch_status, free_port, running
from oodtune.cpus import count_cpus

TARGETS: Final[dict[Payload, float]] = {"jpeg": 0.95, "binary": 0.95, "json": 0.75}
LOAD: Final = 0.7
"""Share of the raw limit at which latency is measured."""
MOST_LATENCY: Final = 2.5
"""p99 under that load, in latencies of the unloaded server."""
MOST_MEGABYTES: Final = 300.0
LONGEST_START_S: Final = 3.0
BATCHES: Final = {96: (1, 4, 8), 224: (1,)}
"""Larger ones cost more per image at 224 px."""
WARM_UP_S: Final = 1
READY: Final = Post("/v2/health/ready", {}, b"")


@dataclass(frozen=True)
class Loaded:
    """Latencies under load, and without any just before: the machine's speed changes."""

    unloaded: Open
    open: Open

    @property
    def times(self) -> float:
        """p99 under load, in latencies of the unloaded server."""
        return self.open.p99_s / self.unloaded.p50_s


class Bench:
    """One image size: its bundle, its image, its raw limit."""

    def __init__(self, size: int, options: argparse.Namespace, directory: Path) -> None:
        self.size, self.options, self.directory = size, options, directory
        self.bundle = (options.work or directory) / f"{options.backbone}-{size}"
        if not self.bundle.exists():
            write_bundle(self.bundle, options.backbone, size)
        self.jpeg = draw_jpeg(size)
        path = directory / f"{size}.jpg"
        path.write_bytes(self.jpeg)
        self.limit = Limit(self.bundle, path)
        self.parts: dict[str, Parts] = {}
        """Name of a ratio -> where the time of our requests went."""

    def serve(self) -> AbstractContextManager[Running]:
        port = free_port()
        oodtune = Path(sys.executable).with_name("oodtune")
        return running("oodtune", [oodtune, "serve", str(self.bundle), "--port", str(port)], port, READY)

    def compare(self, server: Running, post: Post, payload: Payload, connections: int) -> Ratio:
        """Return the ratio of CPU time of the raw limit to that of the server."""
        setup = self.limit.find_best(connections, payload == "jpeg", BATCHES.get(self.size, (1,)))
        run_wrk(server, post, connections, WARM_UP_S, self.directory)
        before = self.limit.measure(setup, self.options.limit_seconds)
        pairs = []
        for _ in range(self.options.repeats):
            ours_s = self._cpu_s(server, post, connections)
            after = self.limit.measure(setup, self.options.limit_seconds)
            pairs.append((ours_s, statistics.mean((before.cpu_s, after.cpu_s))))
            before = after
        name = f"{payload}, {self.size} px, {connections} connections, in images per CPU second"
        theirs = f"raw limit: {setup.threads} threads x {setup.intra_op}, batch {setup.batch}"
        ratio = ratio_of_pairs(name, server.name, theirs, pairs, TARGETS[payload])
        print(ratio, flush=True)
        return ratio

    def oppose(self, ours: Running, theirs: Running, connections: int) -> Ratio:
        """Return the ratio of CPU time of a peer to that of our server, for JPEGs."""
        our_post, their_post = make_post("jpeg", self.jpeg, self.size), peer_post(theirs.name, self.jpeg)
        run_wrk(ours, our_post, connections, WARM_UP_S, self.directory)
        run_wrk(theirs, their_post, connections, WARM_UP_S, self.directory)
        pairs = [
            (self._cpu_s(ours, our_post, connections), self._cpu_s(theirs, their_post, connections))
            for _ in range(self.options.repeats)
        ]
        name = f"jpeg, {self.size} px, {connections} connections, in images per CPU second"
        ratio = ratio_of_pairs(name, ours.name, theirs.name, pairs, 1.0)
        print(ratio, flush=True)
        return ratio

    def _cpu_s(self, server: Running, post: Post, connections: int) -> float:
        """Load the server; return its CPU seconds for a request, and say if any failed."""
        run = run_wrk(server, post, connections, self.options.seconds, self.directory)
        if run.failed:
            print(f"    {run.failed} requests of {server.name} failed", flush=True)
        return run.speed.cpu_s

    def compare_ours(self, server: Running, post: Post, payload: Payload, connections: int) -> Ratio:
        """As `compare`, of our server; note where the time went."""
        before = read_counted(server.port)
        ratio = self.compare(server, post, payload, connections)
        self.parts[ratio.name] = parts_between(before, read_counted(server.port), 1 / ratio.per_second_ours)
        print(self.parts[ratio.name], flush=True)
        return ratio

    def measure_open_loop(self, server: Running, arrivals: Arrivals) -> list[Loaded]:
        """Return, for every repeat, latencies of clients that come at LOAD of the raw limit, and of one client."""
        post = make_post("jpeg", self.jpeg, self.size)
        setup = Setup(count_cpus(), 1, 1, True)  # whoever comes alone is served alone
        seconds = self.options.open_seconds
        found = []
        for _ in range(self.options.repeats):
            unloaded = run_open_loop(server, post, 0.0, seconds / 4, self.directory)
            rate = LOAD * self.limit.measure(setup, 2 * self.options.limit_seconds).per_second
            found.append(Loaded(unloaded, run_open_loop(server, post, rate, seconds, self.directory, arrivals)))
        return found


def main() -> None:
    options = parse()
    if shutil.which("wrk") is None:
        sys.exit("wrk: expected the load generator wrk, found none; apt install wrk")
    ratios: list[Ratio] = []
    bounds: list[Bound] = []
    latencies: dict[str, object] = {}
    parts: dict[str, object] = {}
    peers: list[Ratio] = []
    with tempfile.TemporaryDirectory() as name:
        for size in options.size:
            with benching(Bench(size, options, Path(name))) as bench:
                found, limits = measure_ours(bench, latencies)
                ratios += found
                bounds += limits
                peers += measure_peers(bench)
                parts |= {name: asdict(one) for name, one in bench.parts.items()}
    print(*bounds, sep="\n", flush=True)
    write_figures(
        options,
        describe_machine("onnxruntime", "numpy", "pillow", "starlette", "uvicorn"),
        ratios + peers,
        bounds,
        latencies=latencies,
        parts=parts,
    )
    sys.exit(not (all(one.met for one in ratios + peers) and all(one.met for one in bounds)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="timm name (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs="+", default=[96, 224], help="of images, in pixels")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32], help="of wrk")
    parser.add_argument("--payload", choices=PAYLOADS, nargs="+", default=list(PAYLOADS))
    parser.add_argument("--repeats", type=int, default=5, help="measured pairs of each ratio (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of every run of a server (default: %(default)s)")
    parser.add_argument("--limit-seconds", type=float, default=0.8, help="of every run of the limit")
    parser.add_argument("--open-seconds", type=float, default=6.0, help="of every open loop (default: %(default)s)")
    parser.add_argument("--peer", choices=sorted(PACKAGES), action="append", default=[], help="measure it, too")
    parser.add_argument("--peers-dir", type=Path, default=Path("peers"), help="of their environments")
    parser.add_argument("--work", type=Path, help="keep the bundles here, and use those that are there")
    parser.add_argument("--quick", action="store_true", help="one short pair of each, which proves little")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.seconds, options.limit_seconds, options.open_seconds = 1, 1.0, 0.3, 4.0
    return options


@contextmanager
def benching(bench: Bench) -> Iterator[Bench]:
    try:
        yield bench
    finally:
        bench.limit.close()


def measure_ours(bench: Bench, latencies: dict[str, object]) -> tuple[list[Ratio], list[Bound]]:
    """Measure `oodtune serve`; latencies of the open loop are noted by size."""
    size, options = bench.size, bench.options
    ratios = []
    with bench.serve() as server:
        for payload in options.payload:
            post = make_post(payload, bench.jpeg, size)
            if (status := fetch_status(server.port, post)) != 200:
                print(f"{payload}, {size} px: not measured, the server answered {status}", flush=True)
                continue
            ratios += [bench.compare_ours(server, post, payload, count) for count in options.connections]
        open_loops = {arrivals: bench.measure_open_loop(server, arrivals) for arrivals in get_args(Arrivals)}
        latencies[f"{size} px"] = {name: [asdict(one) for one in found] for name, found in open_loops.items()}
        print_open_loops(size, open_loops)
        bounds = [
            *(
                Bound(
                    f"p99 at {LOAD:.0%} load, {name}, {size} px",
                    statistics.median(one.times for one in found),
                    MOST_LATENCY,
                    "x unloaded",
                )
                for name, found in open_loops.items()
            ),
            Bound(f"memory, {size} px", server.megabytes(), MOST_MEGABYTES, "MB"),
            Bound(f"start, {size} px", server.start_s, LONGEST_START_S, "s"),
        ]
    return ratios, bounds


def print_open_loops(size: int, open_loops: Mapping[str, Sequence[Loaded]]) -> None:
    for name, found in open_loops.items():
        print(f"open loop, {size} px, arrivals {name}:", flush=True)
        for loaded in found:
            one = loaded.open
            print(
                f"  {one.per_second:.0f}/s, p50 {1e3 * one.p50_s:.1f} ms, p99 {1e3 * one.p99_s:.1f} ms, "
                f"{loaded.times:.1f} x the {1e3 * loaded.unloaded.p50_s:.1f} ms of one client, {one.failed} of "
                f"{one.requests} failed; others took {one.others:.2f} CPUs, the generator {one.generator:.2f}",
                flush=True,
            )
    print(
        f"  ideal server, arrivals random: p99 of {ideal_p99(LOAD, count_cpus()):.1f} x its service time",
        flush=True,
    )


def measure_peers(bench: Bench) -> list[Ratio]:
    """Return how often ours does, per CPU second, what each peer does once: both are up, and asked by turns."""
    found = []
    for name in bench.options.peer:
        peer = running_peer(name, bench.options.peers_dir, bench.bundle, bench.jpeg)
        with bench.serve() as ours, peer as theirs:
            found += [bench.oppose(ours, theirs, connections) for connections in bench.options.connections]
            print(f"{name}, {bench.size} px: {theirs.megabytes():.0f} MB, {theirs.start_s:.1f} s to start", flush=True)
    return found


if __name__ == "__main__":
    main()
