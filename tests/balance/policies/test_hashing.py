"""Hashing policies against published figures: spread, movement, bounds; and the same answers in every process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.policies.hashing import mix, stable_hash
from loggos.balance.policies.maglev import Maglev, is_prime
from loggos.balance.policies.ring import RingHash
from loggos.balance.types import Endpoint, Policy
from loggos.base.errors import ConfigError

from .helpers import chosen, made, owners, servers

HASHING: list[tuple[str, dict[str, Any]]] = [("ring_hash", {"c": None}), ("maglev", {"size": 1009}), ("rendezvous", {})]
WEIGHTS = st.lists(st.floats(0.2, 5), min_size=2, max_size=8)


def maglev(among: Sequence[Endpoint], size: int) -> Maglev:
    policy = Maglev(Random(1), size=size)
    policy.update(among, 0.0)
    return policy


def without(among: Sequence[Endpoint], place: int) -> tuple[Endpoint, ...]:
    return (*among[:place], *among[place + 1 :])


def moved(before: Sequence[str], after: Sequence[str]) -> int:
    return sum(one != other for one, other in zip(before, after, strict=True))


def test_hashes_are_the_same_in_every_process() -> None:
    assert stable_hash(b"loggos") == 0x3FD2AC8A6B3461FC
    assert mix(1, 2) == 0x7417F79DEBC540E
    assert owners(made("maglev", servers(10)), servers(10), 6) == ["s5", "s9", "s1", "s0", "s4", "s8"]
    assert owners(made("ring_hash", servers(10)), servers(10), 6) == ["s5", "s9", "s4", "s5", "s7", "s7"]
    assert owners(made("rendezvous", servers(10)), servers(10), 6) == ["s1", "s8", "s0", "s3", "s5", "s9"]


@pytest.mark.parametrize(("size", "fullest", "most_moved"), [(65_537, 1.0010, 0.0157), (1_009, 1.090, 0.0426)])
def test_maglev_spreads_and_moves_as_published(size: int, fullest: float, most_moved: float) -> None:
    """The reference: max/mean 1.0010 and 1.57 % of slots moved at M=65537, 1.090 and 4.26 % at M=1009, with 100 end points."""
    among = servers(100)
    policy = maglev(among, size)
    before = policy.slots()
    assert max(Counter(before).values()) / (size / 100) == pytest.approx(fullest, abs=0.0005)
    parts = []
    for place in (3, 41, 97):
        policy.update(without(among, place), 0.0)
        parts.append(moved(before, policy.slots()) / size)
    assert sum(parts) / 3 == pytest.approx(most_moved, rel=0.25)
    if size == 65_537:
        assert max(parts) <= 0.02


def arcs(policy: RingHash) -> list[int]:
    """How much of the circle each end point owns."""
    owned = [0] * len(policy._endpoints)
    previous = policy._hashes[-1] - (1 << 64)
    for point, owner in zip(policy._hashes, policy._owners, strict=True):
        owned[owner] += point - previous
        previous = point
    assert sum(owned) == 1 << 64
    return owned


def test_ring_spreads_as_published_and_moves_the_unavoidable_only() -> None:
    """The reference: 100 points each, 100 end points: max/mean 1.265. Measured here on the arcs themselves, not on keys."""
    policy = RingHash(Random(1), c=None)
    fullest = []
    for farm in range(10):
        policy.update([Endpoint(f"farm{farm}-{number}") for number in range(100)], 0.0)
        fullest.append(max(arcs(policy)) / (1 << 64) * 100)
    assert sum(fullest) / 10 == pytest.approx(1.265, abs=0.02)
    among = servers(100)
    policy.update(among, 0.0)
    before = owners(policy, among, 3_000)
    rest = without(among, 17)
    policy.update(rest, 0.0)
    for old, new in zip(before, owners(policy, rest, 3_000), strict=True):
        assert old == new or old == "s17"


@pytest.mark.parametrize("name", ["ring_hash", "rendezvous"])
@given(count=st.integers(2, 9), gone=st.integers(0, 8), seed=st.integers(0, 5))
def test_removal_moves_the_keys_of_that_end_point_only(name: str, count: int, gone: int, seed: int) -> None:
    among = servers(count)
    policy = made(name, among, seed, **({"c": None, "points": 20} if name == "ring_hash" else {}))
    before = owners(policy, among, 60)
    rest = without(among, gone % count)
    policy.update(rest, 0.0)
    for old, new in zip(before, owners(policy, rest, 60), strict=True):
        assert old == new or old == f"s{gone % count}"


@pytest.mark.parametrize(("name", "options"), HASHING)
def test_whoever_is_filtered_out_loses_its_keys_to_all_others_and_gets_them_back(name: str, options: dict[str, Any]) -> None:
    among = servers(10)
    policy = made(name, among, **options)
    before = owners(policy, among, 3_000)
    view = without(among, 4)
    during = owners(policy, view, 3_000)
    heirs = Counter(new for old, new in zip(before, during, strict=True) if old == "s4")
    assert moved(before, during) == sum(heirs.values()) == before.count("s4")
    assert len(heirs) == 9
    assert max(heirs.values()) < 0.3 * sum(heirs.values())
    assert owners(policy, among, 3_000) == before


@pytest.mark.parametrize(("name", "options"), HASHING)
def test_neither_order_nor_seed_matters(name: str, options: dict[str, Any]) -> None:
    among = servers(12)
    other_way = tuple(reversed(among))
    assert owners(made(name, among, 1, **options), among, 200) == owners(made(name, other_way, 2, **options), other_way, 200)


@pytest.mark.parametrize(("name", "options"), HASHING)
def test_shares_follow_the_weights(name: str, options: dict[str, Any]) -> None:
    among = servers(4, (4, 2, 1, 1))
    counts = Counter(owners(made(name, among, **(options | ({"points": 1_000} if name == "ring_hash" else {}))), among, 8_000))
    for endpoint in among:
        assert counts[endpoint.name] == pytest.approx(1_000 * endpoint.weight, rel=0.12)


@given(weights=WEIGHTS)
def test_maglev_slots_are_in_proportion_to_weight(weights: list[float]) -> None:
    among = servers(len(weights), weights)
    counts = Counter(maglev(among, 1009).slots())
    for endpoint in among:
        assert abs(counts[endpoint.name] - 1009 * endpoint.weight / sum(weights)) <= 1 + len(weights) * 2


@pytest.mark.parametrize(("name", "options"), HASHING)
def test_without_a_key_requests_spread(name: str, options: dict[str, Any]) -> None:
    among = servers(5)
    policy = made(name, among, **options)
    counts = Counter(chosen(policy, among) for _ in range(2_000))
    assert len(counts) == 5
    assert min(counts.values()) > 250


Load = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=120)


def check_bound(policy: Policy, among: Sequence[Endpoint], c: float, steps: list[tuple[int, int]]) -> None:
    """Few keys, so that they collide; now and then a request ends."""
    in_flight: Counter[str] = Counter()
    sent: list[str] = []
    weights = sum(endpoint.weight for endpoint in among)
    for key, ends in steps:
        endpoint = policy.pick(0.0, among, b"%d" % key)
        assert endpoint is not None
        policy.started(endpoint.name, 0.0)
        in_flight[endpoint.name] += 1
        sent.append(endpoint.name)
        assert in_flight[endpoint.name] <= ceil(c * len(sent) * endpoint.weight / weights)
        if ends < 40:
            name = sent.pop(ends % len(sent))
            in_flight[name] -= 1
            policy.finished(name, 0.0, 0.1, True)


@pytest.mark.parametrize("name", ["ring_hash", "maglev"])
@given(count=st.integers(1, 7), c=st.sampled_from([1.01, 1.25, 2.0]), steps=Load)
def test_nobody_gets_more_than_c_times_the_mean(name: str, count: int, c: float, steps: list[tuple[int, int]]) -> None:
    among = servers(count)
    options: dict[str, Any] = {"points": 10} if name == "ring_hash" else {"size": 101}
    check_bound(made(name, among, c=c, **options), among, c, steps)


@given(weights=WEIGHTS, steps=Load)
def test_with_weights_the_bound_is_c_times_the_share(weights: list[float], steps: list[tuple[int, int]]) -> None:
    among = servers(len(weights), weights)
    check_bound(made("ring_hash", among, points=10), among, 1.25, steps)


def test_requests_to_who_left_raise_nobodys_bound() -> None:
    among = servers(4)
    policy = made("ring_hash", among, c=1.25)
    for _ in range(40):
        policy.started("s0", 0.0)
    rest = among[1:]
    policy.update(rest, 1.0)
    for expected in (1, 1, 2):  # at the most ceil(1.25 × 1 / 3) = 1, then 1, then 2
        name = chosen(policy, rest, b"hot")
        policy.started(name, 1.0)
        assert policy._ledger[name].in_flight == expected  # type: ignore[attr-defined]
    policy.finished("s0", 2.0, 2.0, True)
    policy.update(among, 3.0)
    assert policy._in_flight == 42  # type: ignore[attr-defined]


def test_a_hot_key_stays_until_its_server_is_full_and_comes_back() -> None:
    among = servers(4)
    policy = made("ring_hash", among, c=1.25)
    home = chosen(policy, among, b"hot")
    visited = Counter[str]()
    for _ in range(40):
        name = chosen(policy, among, b"hot")
        policy.started(name, 0.0)
        visited[name] += 1
    assert visited[home] == 13  # ceil(1.25 × 40 / 4)
    for name, count in visited.items():
        for _ in range(count):
            policy.finished(name, 1.0, 1.0, True)
    assert chosen(policy, among, b"hot") == home


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match="prime number of slots"):
        Maglev(Random(1), size=1_000)
    with pytest.raises(ConfigError, match="11 end points do not fit a Maglev table of size = 7"):
        maglev(servers(11), 7)
    with pytest.raises(ConfigError, match="a ring of 1,000,100 points"):
        made("ring_hash", servers(2, (10_000, 1)))


def test_what_cannot_be_built_changes_nothing() -> None:
    among = servers(5)
    for policy in (maglev(among, 7), made("ring_hash", among, points=200_000)):
        before = owners(policy, among, 20)
        with pytest.raises(ConfigError):
            policy.update(servers(11), 1.0)
        assert owners(policy, among, 20) == before


def test_primes() -> None:
    assert [number for number in range(30) if is_prime(number)] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert is_prime(65_537)
    assert not is_prime(65_537 * 3)
