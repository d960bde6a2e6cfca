"""What the endpoint counts. Every label value comes from a closed, short list: none from a client."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from oodtune.bundle import Outputs
from oodtune.serve.drift import Drift, DriftMonitor
from oodtune.serve.refusal import Reason
from oodtune.serve.reload import Outcome
from oodtune.serve.served_model import ServedModel

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SHARES: Final = tuple(place / 20 for place in range(1, 21))
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
_DISTANCES: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
_PIXELS: Final = (1e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7)


@dataclass(frozen=True)
class _Counted:
    """What is counted of one version: children of metrics, looked up once."""

    classes: Sequence[Counter]
    domains: Sequence[Counter]
    drift: DriftMonitor


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "oodtune_requests_total",
            "Requests answered, by route ('other' for unknown ones) and HTTP status, or gRPC's status code.",
            "route",
            "code",
        )
        self.seconds = self._histogram(
            "oodtune_request_seconds", "Time from a request's head to the end of its answer.", _SECONDS, "route"
        )
        self.num_in_flight = 0
        """Requests not answered yet. Counted by the event loop alone: it needs no lock."""
        self._gauge("oodtune_in_flight", "Requests not answered yet.").set_function(lambda: self.num_in_flight)
        self.queue_depth = self._gauge("oodtune_queue_depth", "Requests that wait for a worker.")
        self.rejected = self._counter("oodtune_rejected_total", "Requests refused, by reason.", "reason")
        self.queue = self._histogram("oodtune_queue_seconds", "Time a request waited for a worker.", _SECONDS)
        self.decode = self._histogram("oodtune_decode_seconds", "Time to make a request's pixels.", _SECONDS)
        self.inference = self._histogram("oodtune_inference_seconds", "Time of the model for an image.", _SECONDS)
        self.batch_size = self._histogram("oodtune_batch_size", "Images that the model saw at once.", _BATCHES)
        self.predicted = self._counter("oodtune_predicted_class_total", "Images, by most probable class.", "class")
        self.confidence = self._histogram(
            "oodtune_confidence", "Calibrated probability of the most probable class.", _SHARES
        )
        self.ood_score = self._histogram(
            "oodtune_ood_score", "Share of images of the training domains that are nearer to them.", _SHARES
        )
        self.out_of_domain = self._counter("oodtune_out_of_domain_total", "Images whose OOD score is over the limit.")
        self.distance = self._histogram(
            "oodtune_domain_distance", "Distance to the nearest training domain; 1 is usual in it.", _DISTANCES
        )
        self.nearest = self._counter("oodtune_nearest_domain_total", "Images, by nearest training domain.", "domain")
        self.drift = self._gauge(
            "oodtune_drift_psi",
            "Population stability index of recent images against the training domains; NaN while they are few.",
            "of",
        )
        self.image_pixels = self._histogram("oodtune_image_pixels", "Pixels of encoded images.", _PIXELS)
        self.reloads = self._counter(
            "oodtune_reloads_total", "Looks for another version that found one, or failed, by outcome.", "outcome"
        )
        self.model = self._gauge(
            "oodtune_model_info", "Always 1; the labels name the model.", "name", "version", "digest", "provider"
        )
        self.published = self._gauge(
            "oodtune_model_published_timestamp_seconds",
            "When the served version was published to its registry; NaN where it comes from none.",
        )
        self.loaded = self._gauge(
            "oodtune_model_loaded_timestamp_seconds", "When the served version took over in this process; 0 before."
        )
        ProcessCollector(registry=self.registry)
        # A series that appears with its first event hides that event from rate().
        for reason in get_args(Reason):
            self.rejected.labels(reason)
        for outcome in get_args(Outcome):
            self.reloads.labels(outcome)
        self._answers: dict[tuple[str, int | str], tuple[Counter, Histogram]] = {}
        self._counted: dict[ServedModel, _Counted] = {}

    def introduce(self, model: ServedModel) -> None:
        """A model is about to be served."""
        bundle = model.bundle
        drift = DriftMonitor(bundle.domains, bundle.classes)
        for quantity in get_args(Drift):
            self.drift.labels(quantity).set_function(partial(drift.index, quantity))
        classes = [self.predicted.labels(name) for name in bundle.classes]
        domains = [self.nearest.labels(name) for name in bundle.domains.domains]
        self._counted = {model: _Counted(classes, domains, drift)}
        self.model.clear()
        self.model.labels(model.name, model.version, model.bundle.digest, model.bundle.provider).set(1)
        self.published.set(float("nan") if model.published_s is None else model.published_s)
        self.loaded.set(time.time())

    def observe(self, model: ServedModel, outputs: Outputs) -> None:
        """Count the outputs of N images. Called by workers."""
        counted = self._counted.get(model)
        if counted is None:  # the last requests of a version that has just been replaced
            return
        scores = model.bundle.domains
        rows = zip(
            outputs.probabilities.tolist(), outputs.domain_distances.tolist(), outputs.energy.tolist(), strict=True
        )
        for probabilities, distances, energy in rows:
            confidence, distance = max(probabilities), min(distances)
            place, score = probabilities.index(confidence), scores.score_one(distance)
            counted.classes[place].inc()
            counted.domains[distances.index(distance)].inc()
            counted.drift.observe(place, confidence, energy, distance)
            self.confidence.observe(confidence)
            self.ood_score.observe(score)
            self.distance.observe(distance)
            if score > scores.max_score:
                self.out_of_domain.inc()

    def begin_request(self) -> float:
        """Count a request as in flight; return when it began, for `end_request`."""
        self.num_in_flight += 1
        return time.perf_counter()

    def end_request(self, route: str, code: int | str, begun_s: float) -> float:
        """Count the answer to a request that was in flight; return its seconds."""
        self.num_in_flight -= 1
        seconds = time.perf_counter() - begun_s
        self.count_request(route, code, seconds)
        return seconds

    def count_request(self, route: str, code: int | str, seconds: float) -> None:
        """Count an answer and its time. The children are kept: looking one up costs more than counting."""
        children = self._answers.get((route, code))
        if children is None:
            children = self.requests.labels(route, str(code)), self.seconds.labels(route)
            self._answers[route, code] = children
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def reject(self, reason: Reason) -> None:
        self.rejected.labels(reason).inc()

    def names(self) -> frozenset[str]:
        """Return every metric's name, as dashboards and alert rules write it; histograms without suffix."""
        families = self.registry.collect()
        return frozenset(one.name + ("_total" if one.type == "counter" else "") for one in families)

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(name, help_, labels, registry=self.registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(name, help_, labels, registry=self.registry)

    def _histogram(self, name: str, help_: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, help_, labels, buckets=buckets, registry=self.registry)
