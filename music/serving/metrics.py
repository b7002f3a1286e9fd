"""`ServerMetrics`: what `GET /metrics` shows, in Prometheus' text format."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from music.serving.engine import Batch

__all__ = ["ServerMetrics", "join_metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_CONVERSATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TOKENS = tuple(4**power for power in range(3, 11))


class ServerMetrics:
    """Counts of one server.

    Example:
        >>> metrics = ServerMetrics()
        >>> metrics.add_failure("over_long")
        >>> b'music_failures_total{code="over_long"} 1.0' in metrics.text()
        True
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter("music_requests", "Requests.", ["path", "status"], registry=registry)
        self._latency = Histogram(
            "music_request_seconds", "Time to answer.", ["path"], buckets=_SECONDS, registry=registry
        )
        self._failures = Counter(
            "music_failures", "Conversations and requests without scores.", ["code"], registry=registry
        )
        self._batches = Histogram(
            "music_batch_conversations", "Conversations of a batch.", buckets=_CONVERSATIONS, registry=registry
        )
        self._batch_tokens = Histogram("music_batch_tokens", "Tokens of a batch.", buckets=_TOKENS, registry=registry)
        self._batch_seconds = Histogram(
            "music_batch_seconds", "Time of the model for a batch.", buckets=_SECONDS, registry=registry
        )
        self._asked = Counter("music_asked_tokens", "Tokens of scored conversations.", registry=registry)
        self._computed = Counter(
            "music_computed_tokens",
            "Tokens that the model computed; shared and cached ones count once.",
            registry=registry,
        )
        self._reloads = Counter("music_reloads", "Loads of another checkpoint.", ["outcome"], registry=registry)
        self._queued = Gauge(
            "music_queued_conversations", "Conversations of requests that are not answered.", registry=registry
        )

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Show a queue whose length this function returns."""
        self._queued.set_function(length)

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request; unknown paths must come under one name."""
        self._requests.labels(path, status).inc()
        self._latency.labels(path).observe(seconds)

    def add_failure(self, code: str) -> None:
        """Count a conversation or a request that has no score, by the code of its error."""
        self._failures.labels(code).inc()

    def add_batch(self, batch: Batch) -> None:
        """Count a batch."""
        self._batches.observe(batch.num_items)
        self._batch_tokens.observe(batch.num_tokens)
        self._batch_seconds.observe(batch.seconds)
        self._asked.inc(batch.num_tokens)
        self._computed.inc(batch.num_computed)

    def add_reload(self, outcome: str) -> None:
        """Count a reload: `done` or `failed`."""
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        """Return all counts in Prometheus' text format."""
        return generate_latest(self._registry)


def join_metrics(texts: Mapping[str, bytes]) -> bytes:
    """Return the counts of several processes as one text, in which each has its name in the label `replica`.

    Example:
        >>> metrics = ServerMetrics()
        >>> metrics.add_reload("done")
        >>> b'music_reloads_total{outcome="done",replica="a"} 1.0' in join_metrics({"a": metrics.text()})
        True

    Args:
        texts: What each process counted, in Prometheus' text format, by its name.
    """
    registry = CollectorRegistry()
    registry.register(_Joined(texts))
    return generate_latest(registry)


class _Joined(Collector):
    def __init__(self, texts: Mapping[str, bytes]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all processes, each once."""
        families: dict[str, Metric] = {}
        for name, text in self._texts.items():
            for family in text_string_to_metric_families(text.decode()):
                joined = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    joined.add_sample(sample.name, {**sample.labels, "replica": name}, sample.value)
        yield from families.values()
