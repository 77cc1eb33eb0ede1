"""Networks of stations: two exact algorithms against each other, approximations against exact ones, laws that all obey."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.maths import convolution, mva, queues
from loggos.planner.maths.network import DELAY, Solution
from loggos.planner.types import Floats


@st.composite
def networks(draw: st.DrawFn, people_max: int = 6) -> tuple[Floats, list[int], list[float], list[int]]:
    """Demands, populations, think times, servers: one to three classes at one to three stations."""
    classes, stations = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    demands = draw(
        st.lists(st.lists(st.floats(0.01, 5), min_size=stations, max_size=stations), min_size=classes, max_size=classes)
    )
    people = draw(st.lists(st.integers(0, people_max), min_size=classes, max_size=classes).filter(any))
    thinking = draw(st.lists(st.one_of(st.just(0.0), st.floats(0.1, 20)), min_size=classes, max_size=classes))
    servers = draw(st.lists(st.sampled_from([DELAY, 1, 1, 2, 5]), min_size=stations, max_size=stations))
    return np.array(demands), people, thinking, servers


def singles(servers: list[int]) -> list[int]:
    return [min(count, 1) for count in servers]


def assert_lawful(solved: Solution, demands: Floats, people: list[int], thinking: list[float], servers: list[int]) -> None:
    """Little's law at every station and for every class, the utilisation law, and no server busier than always."""
    rates = solved.throughput_per_s
    assert np.allclose(solved.in_station, rates[:, None] * solved.residence_s, rtol=1e-9)
    assert np.allclose(rates * (solved.response_s + thinking), people, rtol=1e-6)
    assert np.allclose(solved.utilisation, rates[:, None] * demands / np.maximum(servers, 1), rtol=1e-9)
    assert all(busy <= 1 + 1e-9 for busy, count in zip(solved.utilisation.sum(axis=0), servers, strict=True) if count != DELAY)


@given(networks())
def test_every_closed_analysis_obeys_the_laws(network: tuple[Floats, list[int], list[float], list[int]]) -> None:
    demands, people, thinking, servers = network
    assert_lawful(mva.closed_classes(demands, people, thinking, servers), demands, people, thinking, servers)
    assert_lawful(mva.schweitzer(demands, people, thinking, singles(servers)), demands, people, thinking, singles(servers))


@given(networks())
def test_mean_value_analysis_and_convolution_agree(network: tuple[Floats, list[int], list[float], list[int]]) -> None:
    demands, people, thinking, servers = network
    ones = singles(servers)
    recursive = mva.closed_classes(demands, people, thinking, ones)
    constants = convolution.solve(demands, np.array(people), np.array(thinking), np.array(ones))
    assert np.allclose(recursive.throughput_per_s, constants.throughput_per_s, rtol=1e-9)
    assert np.allclose(recursive.in_station, constants.in_station, rtol=1e-9, atol=1e-12)


@given(networks(people_max=15))
def test_one_class_alone_is_the_single_class_analysis(network: tuple[Floats, list[int], list[float], list[int]]) -> None:
    demands, people, thinking, servers = network
    users = max(people)
    for counts in (servers, singles(servers)):
        one = mva.closed(demands[0], users, thinking[0], counts)
        several = mva.closed_classes(demands[:1], [users], thinking[:1], counts)
        assert np.allclose(one.throughput_per_s, several.throughput_per_s, rtol=1e-9)
        assert np.allclose(one.in_station, several.in_station, rtol=1e-8, atol=1e-12)


@given(networks())
def test_a_class_split_in_two_is_still_that_class(network: tuple[Floats, list[int], list[float], list[int]]) -> None:
    demands, people, thinking, servers = network
    first, second = max(people), people[0]
    whole = mva.closed(demands[0], first + second, thinking[0], servers)
    halves = mva.closed_classes([demands[0], demands[0]], [first, second], [thinking[0]] * 2, servers)
    assert float(halves.throughput_per_s.sum()) == pytest.approx(float(whole.throughput_per_s[0]), rel=1e-9)


@given(networks())
def test_more_servers_never_take_throughput_from_a_single_class(
    network: tuple[Floats, list[int], list[float], list[int]],
) -> None:
    demands, people, thinking, servers = network
    users = max(people)
    before = mva.curve(demands[0], users, thinking[0], servers)
    more = mva.closed(demands[0], users, thinking[0], [count + 1 if count != DELAY else DELAY for count in servers])
    assert more.throughput_per_s[0] >= before[-1].throughput_per_s[0] * (1 - 1e-9)
    rates = [float(solved.throughput_per_s[0]) for solved in before]
    responses = [float(solved.response_s[0]) for solved in before]
    assert all(later >= earlier * (1 - 1e-9) for earlier, later in pairwise(rates))
    assert all(later >= earlier * (1 - 1e-9) for earlier, later in pairwise(responses))


@given(networks(people_max=12))
def test_the_approximation_is_near_exact(network: tuple[Floats, list[int], list[float], list[int]]) -> None:
    """Within 8 % for one class; the worst of a handful of customers of several classes is off by a quarter."""
    demands, people, thinking, servers = network
    few = [min(number, 8) for number in people]
    exact = mva.closed_classes(demands, few, thinking, singles(servers))
    near = mva.schweitzer(demands, few, thinking, singles(servers))
    assert np.allclose(exact.throughput_per_s, near.throughput_per_s, rtol=0.3)
    one = mva.schweitzer(demands[:1], [max(people)], thinking[:1], singles(servers)).throughput_per_s
    assert np.allclose(mva.closed(demands[0], max(people), thinking[0], singles(servers)).throughput_per_s, one, rtol=0.08)


def test_the_approximation_gets_better_with_more_customers() -> None:
    chance, errors = np.random.default_rng(0), []
    for _ in range(40):
        demands = np.exp(chance.uniform(np.log(0.01), np.log(5), (2, 3)))
        people, thinking = chance.integers(8, 16, 2).tolist(), chance.choice([0.0, 1.0, 10.0], 2).tolist()
        exact = mva.closed_classes(demands, people, thinking).throughput_per_s
        errors.append(float(np.abs(mva.schweitzer(demands, people, thinking).throughput_per_s / exact - 1).max()))
    assert max(errors) < 0.08 and float(np.median(errors)) < 0.03


def test_the_approximation_is_exact_for_one_user_and_in_the_limit() -> None:
    assert mva.schweitzer([[1, 2, 0.5]], [1]).response_s[0] == pytest.approx(3.5)
    assert mva.schweitzer([[1, 2, 0.5]], [5_000]).throughput_per_s[0] == pytest.approx(0.5, rel=1e-3)


def test_seidmann_is_exact_for_one_user_and_in_the_limit() -> None:
    assert mva.schweitzer([[1, 4]], [1], servers=[1, 8]).response_s[0] == pytest.approx(5)
    assert mva.schweitzer([[0.1, 4]], [2_000], servers=[1, 8]).throughput_per_s[0] == pytest.approx(2, rel=1e-3)
    exact = mva.closed([0.1, 4], 30, 5, [1, 8]).throughput_per_s[0]
    assert mva.schweitzer([[0.1, 4]], [30], [5], [1, 8]).throughput_per_s[0] == pytest.approx(exact, rel=0.1)


def test_many_servers_at_saturation_lose_no_digits() -> None:
    """Where a recursion over marginal probabilities cancels: 64 servers and a finite population, by its birth-death sum."""
    users, servers, think_s = 400, 64, 1.0
    weights = [1.0]
    for inside in range(1, users + 1):
        weights.append(weights[-1] * (users - inside + 1) / think_s / min(inside, servers))
        if weights[-1] > 1e200:
            weights = [weight / 1e200 for weight in weights]
    busy = sum(min(inside, servers) * weight for inside, weight in enumerate(weights)) / sum(weights)
    assert mva.closed([1.0], users, think_s, [servers]).throughput_per_s[0] == pytest.approx(busy, rel=1e-10)


def test_a_station_with_a_server_for_each_is_a_delay() -> None:
    many, delay = (mva.closed([0.5, 2.0], 9, 1, [1, servers]) for servers in (9, DELAY))
    assert np.allclose(many.in_station, delay.in_station, rtol=1e-10)


@given(networks(), st.floats(0.05, 0.95))
def test_open_stations_are_queues_of_their_own(network: tuple[Floats, list[int], list[float], list[int]], busiest: float) -> None:
    demands, _, _, servers = network
    shares = np.ones(len(demands))
    arrivals = shares * busiest / max((shares @ demands)[k] / max(1, servers[k]) for k in range(len(servers)))
    solved = mva.open_classes(demands, list(arrivals), servers)
    for station, count in enumerate(servers):
        offered = float(arrivals @ demands[:, station])
        expected = queues.mmc(offered, 1.0, count).in_system if count != DELAY else offered
        assert solved.in_station[:, station].sum() == pytest.approx(expected)


@given(networks(people_max=4), st.floats(0.0, 0.9))
@settings(max_examples=30)
def test_mixed_analysis_lies_between_its_parts(network: tuple[Floats, list[int], list[float], list[int]], busiest: float) -> None:
    """Without open load it is the closed analysis, without customers the open one, and each part slows the other."""
    demands, people, thinking, _ = network
    arrival = busiest / float(demands[0].max())
    both = mva.mixed([demands[0], *demands], [arrival], people, thinking)
    alone = mva.closed_classes(demands, people, thinking)
    one = mva.mixed([demands[0], demands[0]], [arrival], [3], [1.0])
    assert one.throughput_per_s[1] <= mva.closed(demands[0], 3, 1.0).throughput_per_s[0] * (1 + 1e-9)
    free = mva.open_classes(demands[:1], [arrival])
    assert both.response_s[0] >= free.response_s[0] * (1 - 1e-9)
    assert np.allclose(mva.mixed([demands[0], *demands], [0.0], people, thinking).in_station[1:], alone.in_station)
    nobody = mva.mixed([demands[0], *demands], [arrival], [0] * len(people), [1.0] * len(people))
    assert np.allclose(nobody.residence_s[0], free.residence_s[0])
    assert np.allclose(both.in_station, both.throughput_per_s[:, None] * both.residence_s)


def test_mixed_is_the_limit_of_a_closed_class_of_great_numbers() -> None:
    """Very many users who think very long arrive like an open class does."""
    users, think_s = 4_000, 8_000.0
    solved = mva.mixed([[0.5, 0.1], [1.0, 2.0]], [users / think_s], [2], [2.0])
    closed = mva.closed_classes([[0.5, 0.1], [1.0, 2.0]], [users, 2], [think_s, 2.0])
    assert np.allclose(solved.residence_s, closed.residence_s, rtol=2e-3)


def test_what_cannot_be_analysed_is_refused() -> None:
    with pytest.raises(InputError, match="use schweitzer, or fewer classes"):
        mva.closed_classes(np.ones((4, 2)), [100, 100, 100, 100])
    with pytest.raises(InputError, match="population vectors"):
        mva.closed_classes(np.ones((2, 2)), [300, 300], servers=[1, 2])
    with pytest.raises(InputError, match="2 stations and 1 numbers of servers"):
        mva.closed([1, 2], 3, servers=[1])
    with pytest.raises(InputError, match="class 2 has no demand and no think time"):
        mva.closed_classes([[1.0], [0.0]], [1, 1])
    with pytest.raises(InputError, match="1 rows of demands, 2 populations"):
        mva.closed_classes([[1.0]], [1, 1])
    with pytest.raises(InputError, match="all rows of one length"):
        mva.closed_classes([[1.0], [1.0, 2.0]], [1, 1])
    with pytest.raises(InputError, match=r"station 2: 1 server at 1\.2 utilisation never catches up"):
        mva.open_classes([[0.1, 0.6]], [2])
    with pytest.raises(InputError, match=r"population is 0\.5: give a whole number"):
        mva.closed_classes([[1.0]], [0.5])  # type: ignore[list-item]
