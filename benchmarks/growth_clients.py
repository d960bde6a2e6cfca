"""`oodtune serve` with one client to 256, each with a connection of its own that asks as soon as it has an answer.

    python -m benchmarks.growth_clients

tf_efficientnet_lite0 at 96 px with random weights, JPEGs, asked by wrk on the same cores. What a client waits for its
turn grows with the clients, as it must; CPU time and memory must not. A request that would wait longer than
`serve.max_wait_s` is refused, and wrk asks again at once, whatever Retry-After says; answers are those that predict.
Exits with 1 if a target is missed; needs `wrk` (apt install wrk).
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.growth import LINEAR, Curve, Growth, add, conclude, parser
from benchmarks.ratio import Bound
from benchmarks.serve_inputs import Post, draw_jpeg, make_post, write_bundle
from benchmarks.serve_load import run_wrk
from benchmarks.serve_processes import free_port, running

SIZES = (1, 4, 16, 64, 256)
SIZE = 96
BACKBONE = "tf_efficientnet_lite0"
CONSTANT = 0.1
"""The most exponent of what must not grow."""


def main() -> int:
    making = parser(__doc__, "clients", SIZES)
    making.add_argument("--seconds", type=int, default=8, help="with each number of clients (default: %(default)s)")
    options = making.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk: expected the load generator wrk, found none; apt install wrk")
    curves = {
        "answers": Curve("answers a second", "1/s"),
        "CPU": Curve("CPU time of an answer", "ms", most_exponent=CONSTANT),
        "p50": Curve("p50", "ms", most_exponent=LINEAR),
        "p99": Curve("p99", "ms", most_exponent=LINEAR),
        "memory": Curve("memory, the most so far", "MB", most_exponent=CONSTANT),
    }
    with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as name:
        failed = measure(Path(name), options.sizes, options.seconds, curves)
    none_failed = Bound("requests that failed or were refused", float(failed), 0.0, "requests")
    growth = Growth("clients", options.sizes, list(curves.values()))
    return conclude(options, growth, "onnxruntime", "uvicorn", bounds=[none_failed])


def measure(directory: Path, sizes: Sequence[int], seconds: int, curves: Mapping[str, Curve]) -> int:
    """Add the values of one server to `curves`; return how many requests failed."""
    failed, port = 0, free_port()
    path = write_bundle(directory / "bundle", BACKBONE, SIZE)
    post = make_post("jpeg", draw_jpeg(SIZE), SIZE)
    command = [str(Path(sys.executable).with_name("oodtune")), "serve", str(path), "--port", str(port)]
    with running("oodtune", command, port, Post("/v2/health/ready", {}, b"")) as server:
        for size in sizes:
            run_wrk(server, post, size, 1, directory)
            seen = run_wrk(server, post, size, seconds, directory)
            failed += seen.failed
            times_ms = {"CPU": 1e3 * seen.speed.cpu_s, "p50": 1e3 * seen.p50_s, "p99": 1e3 * seen.p99_s}
            add(curves, size, {"answers": seen.speed.per_second, **times_ms, "memory": server.megabytes()})
    return failed


if __name__ == "__main__":
    sys.exit(main())
