"""Marks, the panic threshold, and filters in a row."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.filters.filter import Chain, Filter
from loggos.balance.filters.health import Health, Panic
from loggos.balance.types import Endpoint
from loggos.base.errors import ConfigError


def servers(count: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"s{number}") for number in range(count))


def names(endpoints: Sequence[Endpoint]) -> list[str]:
    return [endpoint.name for endpoint in endpoints]


class Timed(Filter):
    """Says it changes at a given time, and that everything it is told is news, or not."""

    def __init__(self, at_s: float, news: bool) -> None:
        self.at_s, self.news, self.told = at_s, news, 0

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        return tuple(endpoints[1:])

    def changes_at_s(self) -> float:
        return self.at_s

    def started(self, name: str, now_s: float) -> bool:
        self.told += 1
        return self.news

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None) -> bool:
        self.told += 1
        return self.news


def test_everybody_is_well_until_marked_and_a_mark_is_news_once() -> None:
    health = Health()
    health.update(servers(3), 0.0)
    assert health.mark("s1", False)
    assert not health.mark("s1", False)
    assert names(health.apply(servers(3), 0.0)) == ["s0", "s2"]
    assert health.mark("s1", True)
    assert not health.mark("s2", True)
    assert names(health.apply(servers(3), 0.0)) == ["s0", "s1", "s2"]


def test_a_mark_goes_with_its_end_point() -> None:
    health = Health()
    health.mark("s1", False)
    health.update(servers(3), 0.0)
    assert len(health.apply(servers(3), 0.0)) == 2
    health.update(servers(1), 1.0)
    health.update(servers(3), 2.0)
    assert len(health.apply(servers(3), 2.0)) == 3


@given(count=st.integers(0, 12), ill=st.integers(0, 12), below=st.floats(0, 1))
def test_panic_begins_below_the_share_and_not_at_it(count: int, ill: int, below: float) -> None:
    health = Health()
    panic = Panic([health], below=below)
    everyone = servers(count)
    for number in range(min(ill, count)):
        health.mark(f"s{number}", False)
    well = everyone[min(ill, count) :]
    expected = everyone if len(well) < below * count else well
    assert panic.apply(everyone, 0.0) == expected
    assert panic.panicking == (len(well) < below * count)


def test_half_well_is_no_panic_with_the_default() -> None:
    health = Health()
    panic = Panic([health])
    for number in (0, 1):
        health.mark(f"s{number}", False)
    assert names(panic.apply(servers(4), 0.0)) == ["s2", "s3"]
    health.mark("s2", False)
    assert len(panic.apply(servers(4), 0.0)) == 4
    with pytest.raises(ConfigError, match="below"):
        Panic([health], below=1.5)


@pytest.mark.parametrize(("news", "expected"), [((True, False), True), ((False, True), True), ((False, False), False)])
def test_a_chain_asks_everyone_and_tells_everyone(news: tuple[bool, bool], expected: bool) -> None:
    first, second = Timed(7.0, news[0]), Timed(5.0, news[1])
    chain = Chain([first, second])
    assert names(chain.apply(servers(4), 0.0)) == ["s2", "s3"]
    assert chain.changes_at_s() == 5.0
    assert chain.started("s0", 0.0) == expected
    assert chain.finished("s0", 0.0, 0.1, True) == expected
    assert (first.told, second.told) == (2, 2)


def test_an_empty_chain_lets_everything_through_for_ever() -> None:
    assert Chain([]).apply(servers(2), 0.0) == servers(2)
    assert Chain([]).changes_at_s() == float("inf")
