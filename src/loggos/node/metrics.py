"""Counters and histograms of a node, cheap enough for the hot path, rendered as OpenMetrics only when somebody asks.

A histogram is an array of counts with bounds that double, so observing is one bit_length and one addition. Names
follow Prometheus: a unit at the end, `_total` on counters. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

BUCKETS: Final = 28  # upper bounds 1 us, 2 us, 4 us … about 134 s


class Histogram:
    """Durations in seconds; buckets double from one microsecond."""

    __slots__ = ("counts", "help", "maximum", "name", "total")

    def __init__(self, name: str, help_text: str) -> None:
        self.name, self.help = name, help_text
        self.counts = [0] * BUCKETS
        self.total = 0.0
        self.maximum = 0.0

    def observe(self, seconds: float) -> None:
        bucket = int(seconds * 1e6).bit_length()
        self.counts[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
        self.total += seconds
        if seconds > self.maximum:
            self.maximum = seconds

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """The upper bound of the bucket that holds the q-quantile, in seconds; 0 when empty."""
        wanted = q * self.count
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min((1 << bucket) / 1e6, self.maximum)
        return 0.0


class Metrics:
    """All figures of one node. Services add their own through `gauge`, `counter`, `counters_by` and `histogram`, to be read when
    somebody asks."""

    def __init__(self) -> None:
        self.loop_turn = Histogram("loggos_loop_turn_seconds", "Work done by the replica in one turn of the loop")
        self.fdatasync = Histogram("loggos_fdatasync_seconds", "One journal batch: write and fdatasync")
        self.counters: dict[str, int] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self._counters_by: dict[str, tuple[str, str, Callable[[], Mapping[str, float]]]] = {}
        self._histograms: list[Callable[[], Histogram]] = [lambda: self.loop_turn, lambda: self.fdatasync]

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        self._gauges[name] = (help_text, read)

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """`name` without `_total`."""
        self._counters[name] = (help_text, read)

    def counters_by(self, label: str, name: str, help_text: str, read: Callable[[], Mapping[str, float]]) -> None:
        """One counter for each value of a label."""
        self._counters_by[name] = (label, help_text, read)

    def histogram(self, read: Callable[[], Histogram]) -> None:
        self._histograms.append(read)

    def collect(self) -> Iterator[Any]:
        """Metric families, as prometheus_client's registries want them of a collector."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for histogram in [read() for read in self._histograms]:
            seen, buckets = 0, []
            for bucket, count in enumerate(histogram.counts):
                seen += count
                bound = "+Inf" if bucket == BUCKETS - 1 else repr((1 << bucket) / 1e6)
                buckets.append((bound, float(seen)))
            yield HistogramMetricFamily(histogram.name, histogram.help, buckets=buckets, sum_value=histogram.total)
        for name in sorted(self.counters):
            yield CounterMetricFamily(f"loggos_{name}", name.replace("_", " "), value=self.counters[name])
        for name in sorted(self._counters):
            help_text, read = self._counters[name]
            yield CounterMetricFamily(f"loggos_{name}", help_text, value=read())
        for name in sorted(self._counters_by):
            label, help_text, read_all = self._counters_by[name]
            family = CounterMetricFamily(f"loggos_{name}", help_text, labels=[label])
            for value, counted in read_all().items():
                family.add_metric([value], counted)
            yield family
        for name in sorted(self._gauges):
            help_text, read = self._gauges[name]
            yield GaugeMetricFamily(f"loggos_{name}", help_text, value=read())

    def render(self, *others: Any) -> bytes:
        """The OpenMetrics text exposition, with what other collectors have to say."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.openmetrics.exposition import generate_latest

        registry = CollectorRegistry(auto_describe=False)
        for collector in (self, *others):
            registry.register(collector)
        text: bytes = generate_latest(registry)
        return text
