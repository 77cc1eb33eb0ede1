"""Scrapes of Prometheus and OpenMetrics text, compared with the parser of prometheus-client."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from loggos.base.errors import InputError
from loggos.planner.observe.exposition import parse_exposition, parse_sample, read_exposition
from loggos.planner.observe.findings import Kind, Observation

SCRAPE = """\
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{{code="200",path="/a\\"b"}} {requests}
# TYPE busy gauge
busy 0.5
"""


def parse(text: str, **options: float) -> Observation:
    return parse_exposition(text.splitlines(keepends=True), "metrics.txt", **options)  # type: ignore[arg-type]


def registry_text() -> str:
    registry = CollectorRegistry()
    Counter("jobs", "Jobs.", ["queue"], registry=registry).labels('a"\\b\nc').inc(3)
    Gauge("depth", "Depth.", registry=registry).set(-2.5)
    latency = Histogram("latency_seconds", "Latency.", registry=registry, buckets=(0.1, 1.0))
    latency.observe(0.05)
    latency.observe(5.0)
    return generate_latest(registry).decode()


def test_it_reads_what_prometheus_client_reads() -> None:
    seen = parse(registry_text(), start_s=1.7e9)
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(registry_text())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    ours = {(series.name, tuple(sorted(series.labels.items()))): float(series.values[0]) for series in seen.series}
    assert ours == theirs and len(ours) == 7
    assert seen.metric_types["jobs_total"] == "counter"
    assert seen.metric_types["latency_seconds_bucket"] == "histogram"
    assert seen.metric_types["depth"] == "gauge"
    assert seen.one("latency_seconds_sum").unit == ""


def test_scrapes_are_told_apart_by_repetition_and_placed_by_their_interval() -> None:
    seen = parse("".join(SCRAPE.format(requests=n) for n in (5, 7, 9)), start_s=1.7e9, interval_s=15.0)
    requests = seen.one("http_requests_total", code="200")
    assert requests.times_s.tolist() == [1.7e9, 1.7e9 + 15, 1.7e9 + 30] and requests.values.tolist() == [5, 7, 9]
    assert requests.labels["path"] == '/a"b'


@pytest.mark.parametrize(
    "comment", ["# 1700000000", "# scrape 1700000000", "# 2023-11-14T22:13:20+00:00", "## time: 1700000000000"]
)
def test_a_comment_gives_the_time_of_its_scrape(comment: str) -> None:
    later = "# 1700000060" if "17000" in comment else "# 2023-11-14T22:14:20Z"
    seen = parse(f"{comment}\n{SCRAPE.format(requests=1)}# EOF\n{later}\n{SCRAPE.format(requests=4)}")
    assert seen.one("http_requests_total").times_s.tolist() == [1.7e9, 1.7e9 + 60]


@pytest.mark.parametrize(("stamp", "seconds"), [("1700000000000", 1.7e9), ("1700000000.5", 1700000000.5)])
def test_own_timestamps_count_in_milliseconds_or_seconds(stamp: str, seconds: float) -> None:
    assert parse(f"up 1 {stamp}\n").one("up").times_s.tolist() == [seconds]


def test_counters_that_reset_and_values_without_bound_are_kept_apart() -> None:
    seen = parse("a 1\nb +Inf\nc NaN\n", start_s=1.7e9)
    assert [series.name for series in seen.series] == ["a"]
    assert {finding.kind for finding in seen.findings} == {Kind.NOT_FINITE, Kind.MISSING, Kind.TOO_FEW}


def test_one_scrape_without_a_time_can_be_read_and_says_so() -> None:
    seen = parse("up 1\n")
    assert seen.findings[0].kind is Kind.TOO_FEW and "rates cannot" in seen.findings[0].what


def test_several_scrapes_without_times_are_refused() -> None:
    with pytest.raises(InputError, match="2 scrapes without times: give the interval"):
        parse("up 1\nup 1\n")


def test_a_bad_line_is_named_and_the_rest_read() -> None:
    seen = parse('up 1\nthis is {not\nok{a="b"} 2 # {trace_id="1"} 0.5\n', start_s=1.7e9)
    assert seen.one("ok", a="b").values.tolist() == [2.0]
    [bad] = [finding for finding in seen.findings if finding.kind is Kind.BAD_LINE]
    assert bad.where == "metrics.txt:2"


def test_what_is_no_exposition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>\n<body>no\n</html>\n")
    with pytest.raises(InputError, match="is no Prometheus text: 3 of 3 lines"):
        read_exposition(tmp_path / "page.html")


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("up 1", ("up", (), 1.0, None)),
        ('a:b{x="1",} -2e3', ("a:b", (("x", "1"),), -2000.0, None)),
        ('{"dotted.name",x="a,}b"} 3', ("dotted.name", (("x", "a,}b"),), 3.0, None)),
        ('m{ x = "y" , z="w" } 4 1700000000000', ("m", (("x", "y"), ("z", "w")), 4.0, 1.7e9)),
        ("1up 1", None),
        ("up", None),
        ("up 1 2 3", None),
        ('up{x="1"', None),
        ('up{x="1",x="2"} 1', None),
        ("up{x=1} 1", None),
        ("up 1_0", None),
    ],
)
def test_samples(line: str, sample: object) -> None:
    assert parse_sample(line) == sample


label_values = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=8
)


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,4}", fullmatch=True), label_values, max_size=4), st.floats())
def test_any_sample_is_read_back(labels: dict[str, str], value: float) -> None:
    escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"') for key, text in labels.items()}
    inside = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    sample = parse_sample(f"name{{{inside}}} {value!r}")
    assert sample is not None and dict(sample[1]) == labels
    assert sample[2] == value or (math.isnan(value) and math.isnan(sample[2]))


@given(
    st.lists(
        st.one_of(st.text(max_size=20), st.sampled_from(["up 1", "up 2", "# EOF", "# 1700000000", "# TYPE up gauge"])),
        max_size=10,
    )
)
def test_hostile_text_is_read_or_refused(lines: list[str]) -> None:
    try:
        seen = parse_exposition(lines, interval_s=1.0)
    except InputError as error:
        assert str(error)
        return
    assert all(np.all(np.diff(series.times_s) > 0) for series in seen.series)
