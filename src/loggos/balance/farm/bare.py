"""What a farm asks of a balancer, and the balancer that has nothing but a policy.

`loggos.balance.balancer.Balancer`, with its filters and guards, is a `Chooser`; `Bare` makes one of a policy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from loggos.balance.types import Endpoint, Policy, Report


class Chooser(Protocol):
    """One balancer as its owner sees it: see `Balancer` for what each call means."""

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None: ...

    def mark(self, name: str, well: bool) -> None: ...

    def may_send(self, now_s: float) -> object | None: ...

    def choose(self, now_s: float, key: bytes | None = None, avoid: Collection[str] = ()) -> Endpoint | None: ...

    def started(self, name: str, now_s: float, *, again: bool = False) -> None: ...

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None, report: Report | None = None) -> None: ...

    def probes_wanted(self, now_s: float) -> Sequence[str]: ...

    def probed(self, name: str, now_s: float, report: Report) -> None: ...

    def may_retry(self, now_s: float) -> bool: ...


class Bare:
    """A `Chooser` of a policy alone: whoever is not marked down may be chosen, everything may be sent, nothing is tried again."""

    __slots__ = ("_among", "_down", "_endpoints", "_policy", "probed", "probes_wanted")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._endpoints: tuple[Endpoint, ...] = ()
        self._among: tuple[Endpoint, ...] = ()
        self._down: dict[str, None] = {}
        self.probed = policy.probed
        self.probes_wanted = policy.probes_wanted

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._endpoints = self._among = tuple(endpoints)
        self._policy.update(self._endpoints, now_s)

    def mark(self, name: str, well: bool) -> None:
        if well:
            self._down.pop(name, None)
        else:
            self._down[name] = None
        self._among = tuple(endpoint for endpoint in self._endpoints if endpoint.name not in self._down)

    def may_send(self, now_s: float) -> None:
        return None

    def choose(self, now_s: float, key: bytes | None = None, avoid: Collection[str] = ()) -> Endpoint | None:
        return self._policy.pick(now_s, self._among, key)

    def started(self, name: str, now_s: float, *, again: bool = False) -> None:
        self._policy.started(name, now_s)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None, report: Report | None = None) -> None:
        self._policy.finished(name, now_s, latency_s, bool(ok), report)

    def may_retry(self, now_s: float) -> bool:
        return False
