"""A circuit breaker for each end point: an open one is not chosen; half open, it gets a few requests to try.

Put after the panic threshold, not inside it: when every breaker is open there is nobody to send to, and callers fail at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from loggos.balance.filters.filter import Filter
from loggos.balance.guards.breaker import Breaker, State
from loggos.balance.types import Endpoint


class Breakers(Filter):
    """Lets through whose breaker allows a request. `make` gives a closed breaker for a new end point."""

    def __init__(self, make: Callable[[], Breaker] = Breaker) -> None:
        self._make = make
        self._breakers: dict[str, Breaker] = {}

    def state(self, name: str) -> State:
        """Of one end point. KeyError: there is none of that name."""
        return self._breakers[name].state

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._breakers = {endpoint.name: self._breakers.get(endpoint.name) or self._make() for endpoint in endpoints}

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in endpoints if self._breakers[endpoint.name].allows(now_s))

    def changes_at_s(self) -> float:
        return min((one.opens_until_s for one in self._breakers.values() if one.state is State.OPEN), default=inf)

    def started(self, name: str, now_s: float) -> bool:
        breaker = self._breakers.get(name)
        return breaker is not None and breaker.started(now_s)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None) -> bool:
        breaker = self._breakers.get(name)
        return breaker is not None and breaker.finished(now_s, latency_s, ok)
