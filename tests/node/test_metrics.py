"""What a node measures, as OpenMetrics."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from loggos.node.metrics import BUCKETS, Histogram, Metrics


def families(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Family → sample (name and bucket) → value, as a scraper reads them."""
    text = metrics.render().decode()
    assert text.endswith("# EOF\n")
    return {
        family.name: {sample.name + sample.labels.get("le", ""): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_everything_is_rendered_and_parses() -> None:
    metrics = Metrics()
    metrics.loop_turn.observe(0.0005)
    metrics.fdatasync.observe(0.003)
    metrics.fdatasync.observe(1000.0)
    metrics.count("interruptions")
    metrics.count("interruptions", 2)
    metrics.gauge("log_index", "Operations applied", lambda: 42)
    read = families(metrics)
    assert read["loggos_interruptions"] == {"loggos_interruptions_total": 3}
    assert read["loggos_log_index"] == {"loggos_log_index": 42}
    fdatasync = read["loggos_fdatasync_seconds"]
    assert fdatasync["loggos_fdatasync_seconds_count"] == fdatasync["loggos_fdatasync_seconds_bucket+Inf"] == 2
    assert fdatasync["loggos_fdatasync_seconds_bucket0.004096"] == 1
    assert fdatasync["loggos_fdatasync_seconds_sum"] == 1000.003
    assert read["loggos_loop_turn_seconds"]["loggos_loop_turn_seconds_bucket0.000512"] == 1


def test_gauges_are_read_when_asked() -> None:
    metrics, value = Metrics(), [1.0]
    metrics.gauge("x", "X", lambda: value[0])
    assert families(metrics)["loggos_x"]["loggos_x"] == 1
    value[0] = 2
    assert families(metrics)["loggos_x"]["loggos_x"] == 2


@given(st.lists(st.floats(0, 200), min_size=1, max_size=50))
def test_a_histogram_keeps_what_it_saw(seconds: list[float]) -> None:
    histogram = Histogram("x", "X")
    for one in seconds:
        histogram.observe(one)
    assert histogram.count == len(seconds) and histogram.maximum == max(seconds)
    assert abs(histogram.total - sum(seconds)) < 1e-6
    for q in (0.0, 0.5, 0.99, 1.0):
        true = sorted(seconds)[max(0, -(-int(q * 100) * len(seconds) // 100) - 1)]
        found = histogram.quantile(q)
        assert found >= min(true, found) and found <= max(seconds)
        if 1e-6 < true < (1 << BUCKETS - 2) / 1e6:
            assert true / 2 - 2e-6 <= found <= true * 2 + 2e-6


def test_an_empty_histogram() -> None:
    assert Histogram("x", "X").quantile(0.99) == 0.0
