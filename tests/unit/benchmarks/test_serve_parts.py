"""Parts of a request's time, from two looks at /metrics."""

import pytest

from benchmarks.serve_parts import Counted, parts_between, read_counted
from tests.unit.serve.running import running
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

DECODE, INFERENCE, BATCH = "oodtune_decode_seconds", "oodtune_inference_seconds", "oodtune_batch_size"


def test_parts_are_means_of_what_came_between() -> None:
    before = Counted({DECODE: 1.0, INFERENCE: 2.0, BATCH: 10.0}, {DECODE: 10.0, INFERENCE: 10.0, BATCH: 10.0})
    after = Counted({DECODE: 1.1, INFERENCE: 2.4, BATCH: 40.0}, {DECODE: 30.0, INFERENCE: 20.0, BATCH: 20.0})
    parts = parts_between(before, after, cpu_s=0.05)
    assert (parts.decode_ms, parts.inference_ms, parts.batch) == pytest.approx((5.0, 40.0, 3.0))
    assert parts.rest_ms == pytest.approx(5.0)


def test_the_server_has_what_they_are_made_of() -> None:
    import httpx

    with running(str(tiny_bundle())) as (_, url):
        port = int(url.rpartition(":")[2])
        before = read_counted(port)
        httpx.post(f"{url}/v1/classify", content=encode(random_images(1, seed=0)[0]), trust_env=False)
        after = read_counted(port)
    assert all(after.counts[name] == before.counts[name] + 1 for name in after.counts)
    assert parts_between(before, after, 1.0).batch == 1.0
