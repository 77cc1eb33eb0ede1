"""Single stations: laws that every result obeys, closed forms against sums, what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.maths import queues
from loggos.planner.maths.queues import Queue

services = st.floats(1e-4, 100)
counts = st.integers(1, 60)
shares = st.floats(0.001, 0.99)
cv2 = st.floats(0, 10)


def arrival_for(utilisation: float, service_s: float, servers: int) -> float:
    return utilisation * servers / service_s


def assert_lawful(queue: Queue) -> None:
    """Little's law of the queue and of the whole, the utilisation law, and what is lost."""
    assert queue.in_queue == pytest.approx(queue.throughput_per_s * queue.wait_s, rel=1e-9, abs=1e-12)
    assert queue.in_system == pytest.approx(queue.throughput_per_s * queue.response_s, rel=1e-9, abs=1e-12)
    assert queue.utilisation == pytest.approx(queue.throughput_per_s * queue.service_s / queue.servers, rel=1e-9)
    assert queue.response_s == pytest.approx(queue.wait_s + queue.service_s)
    assert queue.throughput_per_s == pytest.approx(queue.arrival_per_s * (1 - queue.loss_probability))
    assert 0 <= queue.wait_probability <= 1 and 0 <= queue.loss_probability <= 1


@given(services, counts, shares, cv2, cv2)
def test_every_result_obeys_littles_law(
    service_s: float, servers: int, utilisation: float, arrival_cv2: float, service_cv2: float
) -> None:
    arrival = arrival_for(utilisation, service_s, servers)
    assert_lawful(queues.mmc(arrival, service_s, servers))
    assert_lawful(queues.ggc(arrival, service_s, servers, arrival_cv2, service_cv2))
    assert_lawful(queues.mg1_ps(arrival / servers, service_s))


@given(services, st.integers(1, 20), st.floats(0, 5), st.integers(0, 60))
def test_a_bounded_queue_obeys_littles_law_under_any_load(service_s: float, servers: int, offered: float, room: int) -> None:
    assert_lawful(queues.mmck(arrival_for(offered, service_s, servers), service_s, servers, servers + room))


@given(st.floats(0, 40), st.integers(0, 50))
def test_erlang_b_is_the_sum_it_stands_for(load: float, servers: int) -> None:
    terms = [load**busy / math.factorial(busy) for busy in range(servers + 1)]
    assert queues.erlang_b(load, servers) == pytest.approx(terms[-1] / math.fsum(terms), rel=1e-10, abs=1e-300)


@given(st.integers(1, 50), shares)
def test_erlang_c_is_the_sum_it_stands_for(servers: int, utilisation: float) -> None:
    load = utilisation * servers
    waiting = load**servers / math.factorial(servers) / (1 - utilisation)
    serving = math.fsum(load**busy / math.factorial(busy) for busy in range(servers))
    assert queues.erlang_c(load, servers) == pytest.approx(waiting / (serving + waiting), rel=1e-10)
    empty = queues.mmc(load, 1.0, servers).empty_probability
    assert empty == pytest.approx(1 / (serving + waiting), rel=1e-10)


@given(services, counts, shares)
def test_more_servers_are_never_slower_and_more_load_is_never_quicker(service_s: float, servers: int, utilisation: float) -> None:
    arrival = arrival_for(utilisation, service_s, servers)
    here = queues.mmc(arrival, service_s, servers)
    assert queues.mmc(arrival, service_s, servers + 1).response_s <= here.response_s
    assert queues.mmc(arrival * 0.9, service_s, servers).response_s <= here.response_s
    for quantile in (0.5, 0.99):
        longer = queues.response_quantile(arrival, service_s, servers, quantile)
        assert queues.response_quantile(arrival, service_s, servers + 1, quantile) <= longer * (1 + 1e-9)
        assert queues.response_quantile(arrival * 0.9, service_s, servers, quantile) <= longer * (1 + 1e-9)


@given(services, counts, shares, st.floats(0.01, 0.9999))
def test_quantiles_invert_tails(service_s: float, servers: int, utilisation: float, quantile: float) -> None:
    arrival = arrival_for(utilisation, service_s, servers)
    response = queues.response_quantile(arrival, service_s, servers, quantile)
    assert queues.response_tail(arrival, service_s, servers, response) == pytest.approx(1 - quantile, rel=1e-6)
    wait = queues.wait_quantile(arrival, service_s, servers, quantile)
    if wait > 0:
        assert queues.wait_tail(arrival, service_s, servers, wait) == pytest.approx(1 - quantile, rel=1e-9)
    else:
        assert queues.erlang_c(arrival * service_s, servers) <= (1 - quantile) * (1 + 1e-9)


@given(counts, shares)
def test_the_mean_is_the_area_under_the_tail(servers: int, utilisation: float) -> None:
    """Trapezoids under P(R > t), which falls nearly as fast as exp(-t min(1, c - a))."""
    arrival = utilisation * servers
    step = 0.02 / min(1.0, servers - arrival)
    tail = [queues.response_tail(arrival, 1.0, servers, step * place) for place in range(2_001)]
    area = step * (math.fsum(tail) - (tail[0] + tail[-1]) / 2)
    assert area == pytest.approx(queues.mmc(arrival, 1.0, servers).response_s, rel=1e-3)


def test_the_tail_where_both_rates_are_equal() -> None:
    """c mu - lambda = mu: the waiting ones take an Erlang-2 time."""
    equal = queues.response_tail(2.0, 1.0, 3, 4.0)
    assert equal == pytest.approx(queues.response_tail(2.0 - 1e-9, 1.0, 3, 4.0), rel=1e-7)
    waits = queues.erlang_c(2.0, 3)
    assert equal == pytest.approx(math.exp(-4) * (1 - waits) + waits * math.exp(-4) * (1 + 4))


def test_one_server_is_the_textbook_one() -> None:
    queue = queues.mm1(0.5, 1.0)
    assert (queue.wait_s, queue.response_s, queue.in_system, queue.empty_probability) == pytest.approx((1, 2, 1, 0.5))
    assert queues.response_tail(0.5, 1.0, 1, 3.0) == pytest.approx(math.exp(-1.5))
    assert queues.mg1_ps(0.5, 1.0).response_s == pytest.approx(2)


@given(services, st.integers(1, 10), shares)
def test_a_queue_with_much_room_is_one_without_bound(service_s: float, servers: int, utilisation: float) -> None:
    arrival = arrival_for(min(utilisation, 0.9), service_s, servers)
    bounded, unbounded = queues.mmck(arrival, service_s, servers, servers + 500), queues.mmc(arrival, service_s, servers)
    assert bounded.response_s == pytest.approx(unbounded.response_s, rel=1e-6)
    assert bounded.wait_probability == pytest.approx(unbounded.wait_probability, rel=1e-6)
    assert queues.mmck(arrival, service_s, servers, servers).loss_probability == pytest.approx(
        queues.erlang_b(arrival * service_s, servers)
    )


@given(services, shares, cv2)
def test_allen_cunneen_is_pollaczek_khinchine_for_one_server(service_s: float, utilisation: float, service_cv2: float) -> None:
    queue = queues.ggc(utilisation / service_s, service_s, 1, 1.0, service_cv2)
    expected = utilisation * service_s * (1 + service_cv2) / (2 * (1 - utilisation))
    assert queue.wait_s == pytest.approx(expected)


@given(services, st.floats(0.1, 200), st.floats(1.05, 5), st.sampled_from([None, 0.5, 0.9, 0.99]))
def test_servers_for_is_enough_and_no_more(service_s: float, load: float, stretch: float, quantile: float | None) -> None:
    arrival = load / service_s
    floor = service_s if quantile is None else -service_s * math.log(1 - quantile)
    objective = floor * stretch

    def response(servers: int) -> float:
        if servers <= load:
            return math.inf
        if quantile is None:
            return queues.mmc(arrival, service_s, servers).response_s
        return queues.response_quantile(arrival, service_s, servers, quantile)

    servers = queues.servers_for(arrival, service_s, response_s=objective, quantile=quantile)
    assert response(servers) <= objective * (1 + 1e-9)
    assert servers == 1 or response(servers - 1) > objective * (1 - 1e-9)


def test_servers_for_a_wait() -> None:
    assert queues.servers_for(2, 1, wait_s=0.4445) == 3
    assert queues.servers_for(2, 1, wait_s=0.44) == 4
    assert queues.servers_for(2, 1, wait_s=0.0, quantile=0.5) == 3  # 44 % wait at all
    assert queues.servers_for(10, 1) == 11
    assert queues.servers_for(10, 1, utilisation_max=0.5) == 20


def test_square_root_staffing_keeps_its_promise() -> None:
    for wait_probability in (0.1, 0.5, 0.9):
        quality = queues.quality_for(wait_probability)
        assert queues.halfin_whitt(quality) == pytest.approx(wait_probability)
        servers = queues.sqrt_staffing(10_000, quality)
        assert queues.erlang_c(10_000, servers) == pytest.approx(wait_probability, abs=0.01)
    assert queues.sqrt_staffing(100, 1.0) == 110
    assert queues.sqrt_staffing(100, 0.0) == 101


def test_large_stations_neither_overflow_nor_lose_digits() -> None:
    queue = queues.mmc(99_000, 1, 100_000)
    assert queue.wait_probability == pytest.approx(queues.halfin_whitt(1_000 / math.sqrt(99_000)), rel=0.05)
    assert queue.empty_probability == 0
    assert queues.mmc(0.5, 1, 300).empty_probability == pytest.approx(math.exp(-0.5))
    assert queues.mmck(1e6, 1, 100, 100_000).loss_probability == pytest.approx(1 - 1e-4)
    assert queues.mmc(0, 1, 3).response_s == 1


@pytest.mark.parametrize(
    ("servers", "load", "words"),
    [
        (3, 3.75, "3 servers at 1.25 utilisation never catch up: at least 4 are needed"),
        (3, 3.0, "3 servers at 1 utilisation never catch up: at least 4 are needed"),
        (1, 2.5, "1 server at 2.5 utilisation never catches up: at least 3 are needed"),
    ],
)
def test_what_never_catches_up_is_refused(servers: int, load: float, words: str) -> None:
    with pytest.raises(InputError) as caught:
        queues.mmc(load, 1.0, servers)
    assert str(caught.value) == words


def test_impossible_objectives_and_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"response_s 0.05 cannot be met: the mean is 0.1 s with no load at all"):
        queues.servers_for(10, 0.1, response_s=0.05)
    with pytest.raises(InputError, match=r"the 0.99 quantile is 0.4605 s with no load at all"):
        queues.servers_for(10, 0.1, response_s=0.4, quantile=0.99)
    with pytest.raises(InputError, match="give one objective"):
        queues.servers_for(10, 0.1, response_s=1, wait_s=1)
    with pytest.raises(InputError, match="wait_s is 0: some request waits"):
        queues.servers_for(10, 0.1, wait_s=0)
    with pytest.raises(InputError, match="do not meet the objective within 0 utilisation"):
        queues.servers_for(10, 0.1, utilisation_max=0)
    with pytest.raises(InputError, match="arrival_per_s is -1: give a finite number, 0 or above"):
        queues.mmc(-1, 1, 1)
    with pytest.raises(InputError, match="service_s is nan"):
        queues.mmc(1, math.nan, 1)
    with pytest.raises(InputError, match=r"servers is 1\.5: give a whole number"):
        queues.mmc(1, 0.1, 1.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="capacity 2 is less than the 3 servers"):
        queues.mmck(1, 1, 3, 2)
    with pytest.raises(InputError, match="quantile is 1"):
        queues.wait_quantile(1, 0.5, 1, 1.0)
