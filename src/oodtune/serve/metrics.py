"""What the endpoint counts. Every label value comes from a closed, short list: none from a client."""

from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from oodtune.bundle import Bundle

Reason = Literal["queue_full", "too_large", "bad_image", "bad_request", "timeout"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self, bundle: Bundle) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "oodtune_requests_total",
            "Requests answered, by route ('other' for unknown ones) and HTTP status.",
            ["route", "code"],
            registry=self.registry,
        )
        self.in_flight = Gauge("oodtune_in_flight", "Requests not answered yet.", registry=self.registry)
        self.rejected = Counter(
            "oodtune_rejected_total", "Images refused, by reason.", ["reason"], registry=self.registry
        )
        self.queue = self._histogram("oodtune_queue_seconds", "Time an image waited for a worker.")
        self.decode = self._histogram("oodtune_decode_seconds", "Time to decode and resize an image.")
        self.inference = self._histogram("oodtune_inference_seconds", "Time of the model for an image.")
        self.predicted = Counter(
            "oodtune_predicted_class_total",
            "Images, by most probable class.",
            ["class"],
            registry=self.registry,
        )
        self.model = Gauge(
            "oodtune_model_info",
            "Always 1; the labels name the model.",
            ["digest", "provider"],
            registry=self.registry,
        )
        # A series that appears with its first event hides that event from rate().
        for reason in get_args(Reason):
            self.rejected.labels(reason)
        for name in bundle.classes:
            self.predicted.labels(name)
        self.model.labels(bundle.digest, bundle.provider).set(1)

    def reject(self, reason: Reason) -> None:
        self.rejected.labels(reason).inc()

    def names(self) -> frozenset[str]:
        """Return every metric's name, as dashboards and alert rules write it; histograms without suffix."""
        families = self.registry.collect()
        return frozenset(one.name + ("_total" if one.type == "counter" else "") for one in families)

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, help_: str) -> Histogram:
        return Histogram(name, help_, buckets=_BUCKETS, registry=self.registry)
