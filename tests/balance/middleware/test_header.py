"""The header: what is written is read back; what others write is read or passed over; nonsense is no report and no error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.middleware.header import parse_report, render_report
from loggos.balance.types import Report


def test_the_form() -> None:
    assert render_report(Report(3, 0.0125)) == "TEXT named_metrics.in_flight=3, named_metrics.latency_s=0.0125"


@given(st.integers(0, 10**6), st.floats(0, 1e6))
def test_round_trip(in_flight: int, latency_s: float) -> None:
    back = parse_report(render_report(Report(in_flight, latency_s)))
    assert back is not None and back.in_flight == in_flight
    assert back.latency_s == pytest.approx(latency_s, rel=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        "TEXT cpu_utilization=0.3,named_metrics.latency_s=0.5,named_metrics.in_flight=7",
        "TEXT named_metrics.in_flight=7, named_metrics.other=x, named_metrics.latency_s=0.5",
        'JSON {"cpu_utilization": 0.3, "named_metrics": {"in_flight": 7, "latency_s": 0.5, "other": "x"}}',
    ],
)
def test_other_writers(value: str) -> None:
    assert parse_report(value) == Report(7, 0.5)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "TEXT",
        "named_metrics.in_flight=7, named_metrics.latency_s=0.5",
        "TEXT named_metrics.in_flight=7",
        "TEXT named_metrics.in_flight=-1, named_metrics.latency_s=0.5",
        "TEXT named_metrics.in_flight=7, named_metrics.latency_s=nan",
        "TEXT named_metrics.in_flight=inf, named_metrics.latency_s=1",
        "TEXT named_metrics.in_flight=seven, named_metrics.latency_s=1",
        "JSON {",
        "JSON [1]",
        "JSON " + "[" * 3000,
        'JSON {"named_metrics": {"in_flight": true, "latency_s": 0.5}}',
        'JSON {"named_metrics": 3}',
        "TEXT named_metrics.in_flight=7, named_metrics.latency_s=0.5" + " " * 5000,
        "BIN AAAA",
    ],
)
def test_nonsense_is_no_report(value: str | None) -> None:
    assert parse_report(value) is None


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for value in (text, f"TEXT {text}", f"JSON {text}"):
        report = parse_report(value)
        assert report is None or (report.in_flight >= 0 and report.latency_s >= 0)
