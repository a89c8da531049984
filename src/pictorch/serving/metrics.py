"""What Prometheus reads at /metrics; each app has a registry of its own."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from pictorch.serving.limits import Traffic

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one app; the process's memory, CPU time and open files beside them."""

    def __init__(self, traffic: Traffic, model: str, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        info = Gauge("pictorch_model_info", "The model", ["name", "version"], registry=self._registry)
        info.labels(model, version).set(1)
        in_flight = Gauge("pictorch_requests_in_flight", "Requests being answered", registry=self._registry)
        in_flight.set_function(lambda: traffic.in_flight)
        requests = Counter(
            "pictorch_requests", "Requests by status; 499: the client left", ["code"], registry=self._registry
        )
        self._requests_with = cache(lambda status: requests.labels(status))
        self.rejected = Counter(
            "pictorch_requests_rejected", "Requests that found no room", registry=self._registry
        )
        self._request_seconds = self._histogram("request_seconds", "From the head of a request to its answer")
        self.decode_seconds = self._histogram("decode_seconds", "From a body to pixels, of one request")
        self.queue_seconds = self._histogram("queue_seconds", "Waiting for a thread and for the model")
        self.inference_seconds = self._histogram("inference_seconds", "The model, of one batch")
        self.batch_images = self._histogram("batch_images", "Images of one batch", _IMAGES)

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request that has ended."""
        self._requests_with(status).inc()
        self._request_seconds.observe(seconds)

    def text(self) -> bytes:
        """Returns all of it in Prometheus's text format."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"pictorch_{name}", about, buckets=buckets, registry=self._registry)
