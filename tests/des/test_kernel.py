"""The queue of events: order, time, calling off, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.base.limits import DES_IDLE_TIMERS_MIN
from loggos.des.kernel import Kernel, Timer

TIMES = st.lists(st.integers(0, 9).map(float), max_size=40)


@given(TIMES)
def test_events_run_in_the_order_of_time_and_equal_times_in_the_order_of_planning(times: list[float]) -> None:
    kernel, ran = Kernel(), list[tuple[float, int]]()
    for number, time_s in enumerate(times):
        kernel.at(time_s, lambda number: ran.append((kernel.now_s, number)), number)
    assert kernel.run() == len(times)
    assert ran == sorted((time_s, number) for number, time_s in enumerate(times))


@given(TIMES, st.sets(st.integers(0, 39)), st.integers(0, 9).map(float))
def test_what_is_called_off_does_not_run_and_the_rest_does(times: list[float], off: set[int], until_s: float) -> None:
    kernel, ran = Kernel(), list[int]()
    timers = [kernel.timer(time_s, ran.append, number) for number, time_s in enumerate(times)]
    assert all(kernel.cancel(timers[number]) for number in sorted(off) if number < len(times))
    assert kernel.pending == sum(number not in off for number in range(len(times)))
    kernel.run(until_s)
    assert sorted(ran) == [number for number, time_s in enumerate(times) if number not in off and time_s <= until_s]
    assert kernel.now_s == until_s and kernel.pending == sum(timer.is_pending for timer in timers)


def test_an_event_plans_further_ones_now_and_later() -> None:
    kernel, ran = Kernel(), list[tuple[str, float]]()

    def first(_: object) -> None:
        kernel.after(0.0, lambda name: ran.append((name, kernel.now_s)), "now")
        kernel.after(2.0, lambda name: ran.append((name, kernel.now_s)), "later")

    kernel.at(1.0, first)
    kernel.at(1.0, lambda name: ran.append((name, kernel.now_s)), "beside")
    kernel.run()
    assert ran == [("beside", 1.0), ("now", 1.0), ("later", 3.0)]


def test_a_run_ends_at_its_time_and_goes_on_from_there() -> None:
    kernel, ran = Kernel(), list[float]()
    for time_s in (1.0, 2.0, 3.0):
        kernel.at(time_s, ran.append, time_s)
    assert kernel.run(2.0) == 2 and ran == [1.0, 2.0] and kernel.now_s == 2.0
    assert kernel.run(2.5) == 0 and kernel.now_s == 2.5
    assert kernel.run() == 1 and ran == [1.0, 2.0, 3.0] and kernel.now_s == 3.0


def test_an_event_stops_the_run() -> None:
    kernel, ran = Kernel(), list[float]()
    kernel.at(1.0, lambda _: kernel.stop())
    kernel.at(2.0, ran.append, 2.0)
    assert kernel.run(9.0) == 1 and kernel.now_s == 1.0 and not ran
    assert kernel.run(9.0) == 1 and ran == [2.0]


def test_a_timer_is_called_off_once_and_not_after_it_fired() -> None:
    kernel, fired = Kernel(), list[int]()
    fires, other = kernel.timer(1.0, fired.append, 1), kernel.timer(2.0, fired.append, 2)
    kernel.run(1.5)
    assert fired == [1] and not kernel.cancel(fires)
    assert kernel.cancel(other) and not kernel.cancel(other)
    assert kernel.run() == 0 and fired == [1] and kernel.now_s == 2.0


def test_timers_called_off_do_not_fill_the_queue() -> None:
    kernel, pending = Kernel(), list[Timer]()
    kernel.at(1e9, lambda _: None)
    for _ in range(20 * DES_IDLE_TIMERS_MIN):
        kernel.cancel(kernel.timer(1e6, pending.append))
        assert len(kernel._heap) <= 2 * DES_IDLE_TIMERS_MIN + 2
    assert kernel.pending == 1 and kernel.run() == 1


def test_a_model_without_end_is_refused() -> None:
    kernel = Kernel()

    def again(_: object) -> None:
        kernel.after(0.0, again)

    kernel.at(1.0, again)
    with pytest.raises(InputError, match=r"ran 1000 events and stands at 1 s"):
        kernel.run(events_max=1000)


@pytest.mark.parametrize("time_s", [0.5, float("nan")])
def test_no_event_is_planned_for_the_past(time_s: float) -> None:
    kernel = Kernel()
    kernel.run(1.0)
    with pytest.raises(AssertionError):
        kernel.at(time_s, print)
