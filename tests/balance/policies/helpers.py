"""End points and drives that the tests of policies share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from loggos.balance.policies import make
from loggos.balance.types import Endpoint, Policy


def servers(count: int, weights: Sequence[float] = ()) -> tuple[Endpoint, ...]:
    """s0 … with the weights given, 1 beyond them."""
    return tuple(Endpoint(f"s{i}", weights[i] if i < len(weights) else 1.0) for i in range(count))


def made(name: str, among: Sequence[Endpoint], seed: int = 1, **options: Any) -> Policy:
    """A policy that knows its end points."""
    policy = make(name, Random(seed), **options)
    policy.update(among, 0.0)
    return policy


def chosen(policy: Policy, among: Sequence[Endpoint], key: bytes | None = None, now_s: float = 0.0) -> str:
    endpoint = policy.pick(now_s, among, key)
    assert endpoint is not None
    assert endpoint in among
    return endpoint.name


def tally(policy: Policy, among: Sequence[Endpoint], picks: int) -> Counter[str]:
    """How often each was chosen, when every request ends before the next one."""
    counts: Counter[str] = Counter()
    for _ in range(picks):
        counts[chosen(policy, among)] += 1
    return counts


def owners(policy: Policy, among: Sequence[Endpoint], keys: int) -> list[str]:
    """To whom each of the keys 0 … goes."""
    return [chosen(policy, among, b"key %d" % number) for number in range(keys)]
