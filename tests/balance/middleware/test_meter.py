"""The meter: requests in flight, and the median of recent latencies at the nearest number in flight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.middleware.meter import LoadMeter, Ticket
from loggos.balance.types import Report
from loggos.base.limits import METER_LEVELS_MAX


def serve(meter: LoadMeter, at_s: float, latency_s: float, others: int = 0) -> None:
    """One request that arrives at `at_s` behind `others`, which end together with it and are too old to be of interest."""
    ahead = [meter.started(at_s) for _ in range(others)]
    ticket = meter.started(at_s)
    meter.finished(ticket, at_s + latency_s)
    for other in ahead:
        meter.finished(Ticket(METER_LEVELS_MAX, other.started_s), at_s + latency_s)


def test_nothing_is_known_at_first() -> None:
    assert LoadMeter().report(5.0) == Report(0, 0.0)


def test_the_median_of_the_present_level() -> None:
    meter = LoadMeter()
    for latency_s in (0.125, 0.5, 0.25):
        serve(meter, 1.0, latency_s)
    assert meter.report(1.75) == Report(0, 0.25)
    serve(meter, 1.0, 0.75)
    assert meter.report(1.75).latency_s == 0.375


def test_each_level_has_its_own_latency_and_the_nearest_one_answers() -> None:
    meter = LoadMeter()
    serve(meter, 0.0, 0.25)
    serve(meter, 0.0, 0.5, others=4)
    assert meter.report(1.0).latency_s == 0.25
    started = [meter.started(1.0) for _ in range(3)]
    assert meter.report(1.0) == Report(3, 0.5), "three is nearer to four than to nought"
    meter.finished(started.pop(), 1.0)
    assert meter.in_flight == 2


def test_of_two_levels_equally_near_the_busier_one_answers() -> None:
    meter = LoadMeter()
    serve(meter, 0.0, 0.25)
    serve(meter, 0.0, 0.5, others=2)
    meter.started(1.0)
    assert meter.report(1.0) == Report(1, 0.5)


def test_the_request_whose_answer_carries_the_report_is_left_out() -> None:
    meter = LoadMeter()
    meter.started(0.0)
    meter.started(0.0)
    assert meter.report(0.0, besides=1).in_flight == 1
    assert LoadMeter().report(0.0, besides=1).in_flight == 0


def test_what_is_old_is_forgotten_and_the_latest_latency_stands_in() -> None:
    meter = LoadMeter(window_s=10.0)
    serve(meter, 0.0, 0.5)
    serve(meter, 20.0, 0.25)
    assert meter.report(20.5).latency_s == 0.25, "the sample of long ago has no say"
    assert meter.report(1000.0).latency_s == 0.25, "nothing is recent: the latest"


def test_only_the_latest_samples_count() -> None:
    meter = LoadMeter(samples=3)
    for latency_s in (9.0, 9.0, 9.0, 0.25, 0.25, 0.25):
        serve(meter, 0.0, latency_s)
    assert meter.report(9.0).latency_s == 0.25


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.1)), max_size=200))
def test_in_flight_is_always_what_started_less_what_finished(steps: list[tuple[bool, float]]) -> None:
    meter, now_s = LoadMeter(), 0.0
    tickets: list[Ticket] = []
    longest_s = 0.0
    for arrives, pause_s in steps:
        now_s += pause_s
        if arrives or not tickets:
            tickets.append(meter.started(now_s))
        else:
            ticket = tickets.pop(0)
            longest_s = max(longest_s, now_s - ticket.started_s)
            meter.finished(ticket, now_s)
        report = meter.report(now_s)
        assert report.in_flight == len(tickets)
        assert 0 <= report.latency_s <= longest_s
