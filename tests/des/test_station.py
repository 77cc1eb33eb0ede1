"""Stations: both disciplines against recursions and arithmetic; capacity, speed, failures; Little's law as a property."""

from __future__ import annotations

import heapq
import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.des.kernel import Kernel
from loggos.des.station import FifoStation, SharingStation
from tests.des.driving import Driven, Kind

KINDS: list[Kind] = [FifoStation, SharingStation]
JOBS = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=40)  # gap, work


def split(jobs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return list(accumulate(gap for gap, _ in jobs)), [work for _, work in jobs]


@given(JOBS, st.integers(1, 3))
def test_first_come_first_served_follows_the_recursion(jobs: list[tuple[float, float]], servers: int) -> None:
    """Kiefer and Wolfowitz: a job starts when it has come and the server that is free first is free."""
    times, works = split(jobs)
    free, expected = [0.0] * servers, list[float]()
    for time_s, work_s in zip(times, works, strict=True):
        end_s = max(heapq.heappop(free), time_s) + work_s
        heapq.heappush(free, end_s)
        expected.append(end_s)
    assert Driven(FifoStation, times, works, servers).run().left == pytest.approx(expected, abs=1e-9)


@given(JOBS, st.integers(1, 3))
def test_processor_sharing_gives_every_job_its_part(jobs: list[tuple[float, float]], servers: int) -> None:
    """Worked out slowly: from one arrival or end to the next, every job present loses its part of the work."""
    times, works = split(jobs)
    left: list[float] = [math.inf] * len(times)
    present, now_s, coming = dict[int, float](), 0.0, 0
    while present or coming < len(times):
        rate = min(1.0, servers / len(present)) if present else 1.0
        number = min(present, key=lambda job: (present[job], job)) if present else -1
        end_s = now_s + present[number] / rate if present else math.inf
        next_s = times[coming] if coming < len(times) else math.inf
        passed_s = max(min(end_s, next_s) - now_s, 0.0)
        present = {job: work_s - passed_s * rate for job, work_s in present.items()}
        now_s += passed_s
        if end_s <= next_s:
            left[number] = now_s
            del present[number]
        else:
            present[coming] = works[coming]
            coming += 1
    assert Driven(SharingStation, times, works, servers).run().left == pytest.approx(left, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(JOBS, st.integers(1, 3), st.integers(0, 4))
def test_littles_law_and_the_utilisation_law(kind: Kind, jobs: list[tuple[float, float]], servers: int, more: int) -> None:
    """Over a run that ends empty both hold exactly: jobs present = time spent by all; time at work = work done by all."""
    times, works = split(jobs)
    driven = Driven(kind, times, works, servers, room=servers + more).run()
    station = driven.station
    served = [number for number, left in enumerate(driven.left) if left is not None]
    spent_s = math.fsum(left - time_s for left, time_s in zip(driven.left, times, strict=True) if left is not None)
    assert station.jobs_s == pytest.approx(spent_s, abs=1e-6)
    if kind is FifoStation or servers == 1:
        assert station.busy_s == pytest.approx(math.fsum(works[number] for number in served), abs=1e-6)
    assert station.arrived == len(times) == station.completed + station.refused and station.in_system == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_station_refuses(kind: Kind) -> None:
    driven = Driven(kind, [0.0, 0.0, 0.0, 5.0], [1.0, 1.0, 1.0, 1.0], room=2).run()
    assert driven.left[2] is None and driven.left[3] == 6.0 and driven.station.refused == 1


@pytest.mark.parametrize(("kind", "ends"), [(FifoStation, [3.0, 8.25]), (SharingStation, [6.25, 8.25])])
def test_a_change_of_speed_holds_for_the_work_that_is_left(kind: Kind, ends: list[float]) -> None:
    """Works of 2 and 4: at speed 1 until 1, at 0.5 until 3.5, stalled until 4.5, then at 1."""
    driven = Driven(kind, [0.0, 0.0], [2.0, 4.0])
    for time_s, speed in ((1.0, 0.5), (3.5, 0.0), (4.5, 1.0)):
        driven.kernel.at(time_s, driven.station.set_speed, speed)
    driven.run()
    assert driven.left == pytest.approx(ends)


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_loses_what_is_there_and_refuses_until_the_repair(kind: Kind) -> None:
    driven = Driven(kind, [0.0, 1.0, 1.5, 3.0, 5.0], [0.5, 9.0, 0.1, 1.0, 1.0])
    lost = list[object]()
    driven.kernel.at(2.0 if kind is FifoStation else 1.6, lambda _: lost.extend(driven.station.fail()))
    driven.kernel.at(4.0, lambda _: driven.station.repair())
    driven.run()
    assert lost == [1, 2] and driven.left == [0.5, None, None, None, 6.0]
    assert (driven.station.lost, driven.station.refused, driven.station.completed) == (2, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_failure_lost_does_not_end_later(kind: Kind) -> None:
    """The end that was planned before the failure comes while the next job is served."""
    driven = Driven(kind, [0.0, 2.0], [3.0, 4.0])
    driven.kernel.at(1.0, lambda _: driven.station.fail())
    driven.kernel.at(1.5, lambda _: driven.station.repair())
    driven.run()
    assert driven.left == [None, 6.0] and driven.station.completed == 1


def test_a_station_may_be_given_work_by_its_own_end() -> None:
    kernel, ends = Kernel(), list[float]()

    def done(rounds: int) -> None:
        ends.append(kernel.now_s)
        if rounds:
            station.arrive(1.0, rounds - 1)

    station = SharingStation(kernel, done)
    station.arrive(1.0, 2)
    kernel.run()
    assert ends == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_station_is_refused(kind: Kind) -> None:
    with pytest.raises(InputError, match="0 servers"):
        kind(Kernel(), print, servers=0)
    with pytest.raises(InputError, match="room for 1 jobs"):
        kind(Kernel(), print, servers=2, room=1)
    with pytest.raises(InputError, match="speed -1"):
        kind(Kernel(), print, speed=-1.0)
    with pytest.raises(InputError, match="speed nan"):
        kind(Kernel(), print).set_speed(math.nan)
