"""Worked examples of textbooks and tools, to the digits they print."""

from __future__ import annotations

import numpy as np
import pytest

from loggos.planner.maths import laws, mva, queues, usl
from loggos.planner.types import Floats


def printed(value: float, text: str) -> bool:
    """Whether `value`, rounded to as many decimals as `text` has, is `text`."""
    decimals = len(text.partition(".")[2])
    return f"{value:.{decimals}f}" == f"{float(text):.{decimals}f}"


def assert_printed(values: Floats | list[float], text: str) -> None:
    for value, digits in zip(values, text.split(), strict=True):
        assert printed(float(value), digits), f"{value} is not {digits}"


@pytest.mark.parametrize(
    ("arrival", "rate", "servers", "in_queue", "response"), [(9, 5, 2, "7.674", "1.053"), (9, 5, 4, "0.105", "0.212")]
)
def test_mmc_of_a_queueing_toolbox(arrival: float, rate: float, servers: int, in_queue: str, response: str) -> None:
    queue = queues.mmc(arrival, 1 / rate, servers)
    assert_printed([queue.in_queue, queue.response_s], f"{in_queue} {response}")


def test_mm3_of_ppdq_4_7() -> None:
    queue = queues.mmc(2, 1, 3)
    assert_printed([queue.wait_s, queue.response_s], "0.4444 1.4444")


def test_mm3_with_room_for_7() -> None:
    queue = queues.mmck(40, 1 / 30, 3, 7)
    assert queue.empty_probability is not None
    assert_printed([queue.empty_probability, queue.response_s], "0.255037 0.036517")


def test_jain_34_2() -> None:
    """Jain, The Art of Computer Systems Performance Analysis, example 34.2: 20 terminals, a CPU and two disks."""
    visits = np.array([16, 10, 5])
    solved = mva.closed(visits * [0.125, 0.3, 0.2], 20, think_s=4)
    assert_printed(solved.residence_s[0] / visits, "0.373 4.854 0.300")
    assert_printed(solved.in_station[0], "1.991 16.177 0.500")
    assert_printed([solved.throughput_per_s[0], solved.response_s[0]], "0.3332 56.016")


def test_bolch_8_3() -> None:
    """Bolch et al., Queueing Networks and Markov Chains, example 8.3: a central server model with 6 jobs."""
    visits = np.array([1, 0.4, 0.2, 0.1])
    solved = mva.closed(visits * [0.02, 0.2, 0.4, 0.6], 6)
    assert_printed(solved.utilisation[0], "0.198 0.794 0.794 0.595")
    assert_printed(solved.residence_s[0] / visits, "0.025 0.570 1.140 1.244")
    assert_printed(solved.in_station[0], "0.244 2.261 2.261 1.234")
    assert_printed(solved.throughput_per_s[0] * visits, "9.920 3.968 1.984 0.992")


QSP_DEMANDS = np.array([[1.0, 3.0], [2.0, 4.0]])  # classes A and B at CPU and disk


def test_lazowska_open_with_two_classes() -> None:
    """Lazowska, section 7.4.1 (p. 138). Class A visits the CPU 10 times for 0.1 s each."""
    solved = mva.open_classes(QSP_DEMANDS, [3 / 19, 2 / 19])
    visits = 10
    assert_printed([solved.throughput_per_s[0] * visits, solved.utilisation[0, 0]], "1.58 0.158")
    assert_printed([solved.residence_s[0, 0] / visits, solved.residence_s[0, 0]], "0.158 1.58")
    assert_printed([solved.in_station[0, 0], solved.response_s[0]], "0.25 30.08")


def test_lazowska_closed_with_two_classes() -> None:
    """Lazowska, section 7.4.2, one customer of each class: numbers are nineteenths."""
    solved = mva.closed_classes(QSP_DEMANDS, [1, 1])
    assert np.allclose(solved.in_station * 19, [[4, 15], [5, 14]], rtol=1e-14)


@pytest.mark.parametrize(
    ("nodes", "lost", "digits"), [(3, 1, "0.533"), (5, 1, "0.640"), (5, 2, "0.480"), (9, 1, "0.711"), (9, 2, "0.622")]
)
def test_headroom_for_lost_nodes(nodes: int, lost: int, digits: str) -> None:
    assert printed(laws.headroom(nodes, lost, 0.80), digits)


def test_scalability_law_of_a_toy() -> None:
    rates = [usl.usl(load, alpha=0.02, beta=0.02, gamma=1) for load in (1, 2, 4, 6, 8, 10)]
    assert_printed(rates, "1 1.8868 3.0769 3.5294 3.5398 3.3557")


def test_scalability_law_of_specsdm91() -> None:
    """From the printed parameters, which round the fitted ones; the fit itself is in tests/planner/fit."""
    alpha, beta, gamma = 0.027728, 1.0437e-4, 89.995
    assert usl.peak(alpha, beta, gamma) == pytest.approx((96.519, 1883.9), rel=3e-5)
    assert usl.optimal(alpha, beta, gamma) == pytest.approx((36.064, 1542), rel=3e-4)
    assert usl.limit(alpha, gamma) == pytest.approx(3245.6, rel=2e-5)
