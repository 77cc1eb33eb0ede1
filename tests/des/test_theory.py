"""Simulation against queueing theory: the theory's value lies in the interval of independent runs, and the interval is narrow.

Sources: Kleinrock, Queueing Systems I and II; Allen and Cunneen's approximation as in Allen, Probability, Statistics and Queueing
Theory (1990), 5.3; published values: the qsmmm examples of the Octave queueing package, and M/M/3/7 of PDQ and R queueing.
"""

from __future__ import annotations

import math
from itertools import islice

import pytest

from loggos.des import laws
from loggos.des.arrivals import batches, poisson
from loggos.des.laws import Law
from loggos.des.station import FifoStation, SharingStation
from loggos.des.statistics import Estimate, mean, over_runs, quantile
from tests.des.driving import Driven, Kind, poisson_times, sojourns, streams

RUNS = 8


def erlang_c(servers: int, offered: float) -> float:
    """The probability of having to wait in M/M/c."""
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


def response(kind: Kind, gaps: Law, work: Law, *, servers: int = 1, jobs: int = 30_000) -> Estimate:
    return over_runs(
        [
            mean(sojourns(kind, gaps, work, f"{gaps.name} {work.name} {run}", jobs=jobs, servers=servers, warm_up=jobs // 10)[0])
            for run in range(RUNS)
        ],
        confidence=0.99,
    )


def assert_holds(estimate: Estimate, theory: float, within: float) -> None:
    assert estimate.low <= theory <= estimate.high, f"{estimate} does not hold {theory}"
    assert estimate.half_width <= within * theory, f"{estimate} is too wide to say anything"


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_one_exponential_server(rho: float) -> None:
    assert_holds(response(FifoStation, laws.exponential(1.0 / rho), laws.exponential(1.0)), 1.0 / (1.0 - rho), 0.1)


def test_the_law_of_the_response_of_one_exponential_server() -> None:
    """Exponential: its 99 % quantile is ln 100 means."""
    runs = [
        sojourns(FifoStation, laws.exponential(2.0), laws.exponential(1.0), f"law {run}", jobs=30_000)[0] for run in range(RUNS)
    ]
    assert_holds(over_runs([quantile(sorted(run), 0.99) for run in runs], confidence=0.99), 2.0 * math.log(100.0), 0.06)


@pytest.mark.parametrize(
    ("rate", "mu", "servers", "published"), [(2.0, 1.0, 3, 1.4444), (9.0, 5.0, 2, 1.053), (9.0, 5.0, 4, 0.212)]
)
def test_several_exponential_servers(rate: float, mu: float, servers: int, published: float) -> None:
    theory = 1.0 / mu + erlang_c(servers, rate / mu) / (servers * mu - rate)
    assert theory == pytest.approx(published, abs=6e-4)
    jobs = 40_000 if servers == 2 else 10_000
    assert_holds(
        response(FifoStation, laws.exponential(1.0 / rate), laws.exponential(1.0 / mu), servers=servers, jobs=jobs), theory, 0.14
    )


def test_several_servers_and_bounded_room() -> None:
    """M/M/3/7 with 40 arrivals and 30 services a second: p0 = 0.255037, R = 0.036517."""
    empty, responses = list[float](), list[float]()
    for run in range(RUNS):
        of = streams(f"bounded {run}")
        times = poisson_times(40.0, of("arrivals"), 30_000)
        draw = laws.exponential(1.0 / 30.0).sampler(of("works"))
        driven = Driven(FifoStation, times, [draw() for _ in times], 3, 7)
        empty_times = 0
        for time_s in times[::3]:  # Poisson arrivals see time averages; here: look just before them
            driven.kernel.run(math.nextafter(time_s, 0.0))
            empty_times += driven.station.in_system == 0
        driven.run()
        empty.append(empty_times / len(times[::3]))
        responses.append(mean([left - time for left, time in zip(driven.left, times, strict=True) if left is not None]))
    assert_holds(over_runs(empty, 0.99), 0.255037, 0.03)
    assert_holds(over_runs(responses, 0.99), 0.036517, 0.01)


@pytest.mark.parametrize(
    "work", [laws.deterministic(1.0), laws.erlang(1.0, 4), laws.hyperexponential(1.0, 4.0), laws.lognormal(1.0, 2.0)]
)
def test_processor_sharing_is_insensitive_and_first_come_first_served_is_not(work: Law) -> None:
    """M/G/1-PS: S / (1 - ρ) whatever the law; M/G/1: Pollaczek and Khinchine."""
    rho = 0.7
    jobs = 15_000 if work.cv2 <= 1.0 else 40_000
    assert_holds(response(SharingStation, laws.exponential(1.0 / rho), work, jobs=jobs), 1.0 / (1.0 - rho), 0.08)
    queueing = 1.0 + rho * (1.0 + work.cv2) / (2.0 * (1.0 - rho))
    assert_holds(response(FifoStation, laws.exponential(1.0 / rho), work, jobs=jobs), queueing, 0.15)
    if work.cv2 != 1.0:
        assert abs(queueing - 1.0 / (1.0 - rho)) > 0.15 * queueing


@pytest.mark.parametrize(
    ("ca2", "cs2", "rho", "low", "high"),
    [(1.0, 1.0, 0.8, -0.05, 0.05), (0.5, 0.5, 0.8, -0.03, 0.15), (1.0, 4.0, 0.8, -0.05, 0.15), (4.0, 4.0, 0.6, -0.20, 0.0)],
)
def test_any_arrivals_any_work_several_servers(ca2: float, cs2: float, rho: float, low: float, high: float) -> None:
    """Allen and Cunneen's formula is an approximation: it errs by what is known of it, from some -10 % to +10 %."""
    servers = 4
    gaps, work = laws.fitted(1.0 / (rho * servers), ca2), laws.fitted(1.0, cs2)
    waiting = response(FifoStation, gaps, work, servers=servers, jobs=20_000).value - 1.0
    formula = erlang_c(servers, rho * servers) / (servers * (1.0 - rho)) * (ca2 + cs2) / 2.0
    assert low <= formula / waiting - 1.0 <= high


def test_batches_wait_for_their_own() -> None:
    """M[2]/D/1 at ρ = 0.5: a pair waits ρ S / (2 (1 - ρ)) with S = 2, and its second member one service more."""
    results = []
    for run in range(RUNS):
        of = streams(f"pairs {run}")
        times = list(islice(batches(poisson(0.25, of("arrivals")), lambda: 2), 30_000))
        driven = Driven(FifoStation, times, [1.0] * len(times)).run()
        results.append(mean([left - time for left, time in zip(driven.left, times, strict=True) if left is not None]))
    assert_holds(over_runs(results, 0.99), 0.5 * 2.0 / (2.0 * 0.5) + 1.5, 0.03)


def test_a_server_that_breaks_down_is_a_slower_one() -> None:
    """Utilisation law: stalled half of the time in short turns, a server of speed 1 does the work of one of speed 0.5."""
    of = streams("breakdowns")
    times = poisson_times(0.3, of("arrivals"), 8_000)
    draw = laws.exponential(1.0).sampler(of("works"))
    driven = Driven(FifoStation, times, [draw() for _ in times])

    def turn(speed: float) -> None:
        driven.station.set_speed(speed)
        if driven.kernel.now_s < times[-1]:
            driven.kernel.after(0.125, turn, 1.0 - speed)
        else:
            driven.station.set_speed(1.0)

    driven.kernel.at(0.0, turn, 0.0)
    driven.run()
    spent = [left - time for left, time in zip(driven.left, times, strict=True) if left is not None]
    assert mean(spent) == pytest.approx(2.0 / (1.0 - 0.6), rel=0.08)
    assert driven.station.busy_s / times[-1] == pytest.approx(0.6, rel=0.03)
