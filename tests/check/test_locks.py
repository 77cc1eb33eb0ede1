"""Tokens, exclusion, stale writes, exact counters: good ones pass, planted ones are refused."""

from __future__ import annotations

from loggos.check import Grant, GuardedWrite, check_counter, check_grants, check_guarded_writes
from tests.check.build import rules


def test_grants() -> None:
    good = [Grant("l", "a", 5, 0, 10), Grant("l", "b", 7, 10, None), Grant("l", "c", 9, 15, 20), Grant("m", "a", 6, 3, 4)]
    assert check_grants(good) == []
    assert rules(check_grants([*good, Grant("l", "d", 8, 21, 22)])) == {"token-increases"}
    assert rules(check_grants([*good, Grant("l", "d", 9, 21, 22)])) == {"token-unique"}
    assert rules(check_grants([*good, Grant("l", "d", 11, 19, 22)])) == {"exclusion"}
    assert check_grants([*good, Grant("l", "d", 11, 19, 22)], exclusive=False) == []


def test_guarded_writes() -> None:
    good = [GuardedWrite(1, "l", 5, 0), GuardedWrite(3, "l", 7, 0), GuardedWrite(4, "l", 5, -101), GuardedWrite(5, "m", 2, 0)]
    assert check_guarded_writes(good) == []
    assert rules(check_guarded_writes([*good, GuardedWrite(6, "l", 5, 0)])) == {"stale-write"}


def test_counter() -> None:
    assert check_counter(0, [1, 1], [1], 2) == check_counter(0, [1, 1], [1], 3) == []
    assert "lost" in check_counter(0, [1, 1], [1], 1)[0].message
    assert "doubled" in check_counter(0, [1, 1], [1], 4)[0].message
    assert "altered" in check_counter(10, [5], [10], 20)[0].message
