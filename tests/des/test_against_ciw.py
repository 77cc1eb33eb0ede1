"""The same arrivals and the same works in ciw, an independent simulator: every single end is the same."""

from __future__ import annotations

import math
from typing import Any

import ciw
import pytest

from loggos.des import laws
from loggos.des.laws import Law
from loggos.des.station import FifoStation, SharingStation
from tests.des.driving import Driven, streams

JOBS = 1_500
AFTER_ALL = 1e8


def drawn(law: Law, seed: str) -> list[float]:
    draw = law.sampler(streams(seed)("gaps and works"))
    return [draw() for _ in range(JOBS)]


def ends_in_ciw(gaps: list[float], works: list[float], servers: int, room: float, is_sharing: bool) -> list[float | None]:
    """When each arrival leaves; None: it was refused."""
    network: Any = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps, 2 * AFTER_ALL])],
        service_distributions=[ciw.dists.Sequential(works)],
        number_of_servers=[math.inf if is_sharing else servers],
        queue_capacities=[room - servers],
        ps_thresholds=[servers],
    )
    simulation: Any = ciw.Simulation(network, node_class=ciw.PSNode if is_sharing else ciw.Node)
    simulation.simulate_until_max_time(AFTER_ALL)
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    return [None if record.record_type == "rejection" else float(record.exit_date) for record in records]


@pytest.mark.parametrize(
    "work", [laws.exponential(1.0), laws.hyperexponential(1.0, 4.0), laws.erlang(1.0, 3)], ids=lambda law: law.name
)
@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("is_sharing", [False, True], ids=["fifo", "sharing"])
def test_every_end_is_the_same(work: Law, servers: int, is_sharing: bool) -> None:
    gaps, works = drawn(laws.gamma(1.0 / (0.9 * servers), 2.0), "gaps"), drawn(work, "works")
    expected = ends_in_ciw(gaps, works, servers, math.inf, is_sharing)
    driven = Driven(SharingStation if is_sharing else FifoStation, times_of(gaps), works, servers).run()
    assert len(expected) == JOBS and driven.left == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("servers", "room"), [(1, 1), (1, 4), (3, 3), (3, 7)])
def test_the_same_are_refused(servers: int, room: int) -> None:
    gaps, works = drawn(laws.exponential(1.0 / (1.2 * servers)), "gaps"), drawn(laws.exponential(1.0), "works")
    first = Driven(FifoStation, times_of(gaps), works, servers, room).run()
    accepted = [work_s for work_s, left in zip(works, first.left, strict=True) if left is not None]
    expected = ends_in_ciw(gaps, accepted, servers, room, is_sharing=False)  # it draws the work of those only that it lets in
    assert [left is None for left in first.left] == [left is None for left in expected]
    assert [left or 0.0 for left in first.left] == pytest.approx([left or 0.0 for left in expected], rel=1e-9)
    assert 0 < first.station.refused < 0.6 * JOBS


def times_of(gaps: list[float]) -> list[float]:
    times, now_s = list[float](), 0.0
    for gap_s in gaps:
        now_s += gap_s
        times.append(now_s)
    return times
