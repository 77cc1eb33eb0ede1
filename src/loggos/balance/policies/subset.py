"""Subsetting: each client speaks to a few of many end points, so that connections do not grow as clients × end points.

- `deterministic_subset` gives clients numbered 0, 1, 2, … equal shares: end points are shuffled once per round of clients and cut
  into subsets, so each is in the same number of subsets, to one. A change of the end points reshuffles much.
- `rendezvous_subset` needs no numbers: each client takes the end points that bid highest for it. A change moves one of `size` at
  the most; how many clients an end point has varies as chance has it.

Source: Beyer et al., "Site Reliability Engineering", chapter 20, "A subset selection algorithm: deterministic subsetting".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loggos.balance.policies.checks import whole
from loggos.balance.policies.hashing import mix, stable_hash
from loggos.balance.policies.rendezvous import score
from loggos.balance.policies.views import Views
from loggos.balance.types import Endpoint, Policy, Report

Subset = Callable[[Sequence[Endpoint]], tuple[Endpoint, ...]]


def deterministic_subset(endpoints: Sequence[Endpoint], client: int, size: int) -> tuple[Endpoint, ...]:
    """The `size` end points of client number `client`; all, if there are no more. Clients must agree on the end points."""
    whole("client", client, 0)
    whole("size", size, 1)
    if size >= len(endpoints):
        return tuple(endpoints)
    subsets = len(endpoints) // size
    turn, place = divmod(client, subsets)
    seed = stable_hash(f"round {turn}".encode())
    shuffled = sorted(endpoints, key=lambda endpoint: (mix(seed, stable_hash(endpoint.name.encode())), endpoint.name))
    return tuple(shuffled[place * size : (place + 1) * size])


def rendezvous_subset(endpoints: Sequence[Endpoint], client: str, size: int) -> tuple[Endpoint, ...]:
    """The `size` end points that bid highest for `client`, in the order of `endpoints`; all, if there are no more."""
    whole("size", size, 1)
    if size >= len(endpoints):
        return tuple(endpoints)
    seed = stable_hash(client.encode())
    bids = [score(mix(seed, stable_hash(endpoint.name.encode())), endpoint.weight) for endpoint in endpoints]
    chosen = sorted(range(len(endpoints)), key=lambda place: (-bids[place], endpoints[place].name))[:size]
    return tuple(endpoints[place] for place in sorted(chosen))


class Subsetting(Policy):
    """Another policy, among a subset. If the filters let nobody of the subset through, it chooses among all they do."""

    def __init__(self, policy: Policy, subset: Subset) -> None:
        self._policy = policy
        self._subset = subset
        self._names: dict[str, None] = {}
        self._narrowed = Views(self._narrow)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._names = dict.fromkeys(endpoint.name for endpoint in self._subset(endpoints))
        self._narrowed.clear()
        self._policy.update(endpoints, now_s)

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        return self._policy.pick(now_s, self._narrowed.of(among), key)

    def started(self, name: str, now_s: float) -> None:
        self._policy.started(name, now_s)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        self._policy.finished(name, now_s, latency_s, ok, report)

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        return [name for name in self._policy.probes_wanted(now_s) if name in self._names]

    def probed(self, name: str, now_s: float, report: Report) -> None:
        self._policy.probed(name, now_s, report)

    def _narrow(self, among: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in among if endpoint.name in self._names) or tuple(among)
