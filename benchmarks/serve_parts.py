"""Where the time of a request goes, by what `oodtune serve` says of itself at /metrics."""

import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_SUMS = ("oodtune_decode_seconds", "oodtune_inference_seconds", "oodtune_batch_size")


@dataclass(frozen=True)
class Counted:
    """Sums and counts of histograms since the start."""

    sums: dict[str, float]
    counts: dict[str, float]


@dataclass(frozen=True)
class Parts:
    """Means over runs of the model. Times are by the clock: they hold what workers waited for a core."""

    decode_ms: float
    inference_ms: float
    """Of an image."""
    batch: float
    rest_ms: float
    """CPU time of a request less both: HTTP, the way to a worker and back, scores, metrics. Less than it is, where
    workers waited for a core."""

    def __str__(self) -> str:
        return (
            f"    of a request: decode {self.decode_ms:.2f} ms, model {self.inference_ms:.2f} ms in batches of "
            f"{self.batch:.1f}, the rest {self.rest_ms:.2f} ms"
        )


def read_counted(port: int) -> Counted:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}
    return Counted(
        {name: samples.get(f"{name}_sum", 0.0) for name in _SUMS},
        {name: samples.get(f"{name}_count", 0.0) for name in _SUMS},
    )


def parts_between(before: Counted, after: Counted, cpu_s: float) -> Parts:
    """Return the parts of requests that took `cpu_s` of CPU time each."""
    decode_s, inference_s, batch = (
        (after.sums[name] - before.sums[name]) / max(1.0, after.counts[name] - before.counts[name]) for name in _SUMS
    )
    return Parts(1e3 * decode_s, 1e3 * inference_s, batch, 1e3 * (cpu_s - decode_s - inference_s))
