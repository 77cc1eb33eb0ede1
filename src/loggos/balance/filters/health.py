"""Health as its owner marks it, and the panic threshold.

Health checks, drains and maintenance are the owner's: it marks end points, nobody is ill by default. If few are left, sending
everything to them would bring them down as well, and a check that is itself broken would empty the pool: below the panic
threshold health is ignored.

Source of the threshold: Envoy, "Panic threshold" (healthy_panic_threshold, 50 %).
"""

from __future__ import annotations

from collections.abc import Sequence

from loggos.balance.filters.filter import Chain, Filter
from loggos.balance.policies.checks import within
from loggos.balance.types import Endpoint


class Health(Filter):
    """Lets through whoever is not marked ill."""

    def __init__(self) -> None:
        self._ill: dict[str, None] = {}

    def mark(self, name: str, well: bool) -> bool:
        """True: that is news."""
        if well == (name not in self._ill):
            return False
        if well:
            del self._ill[name]
        else:
            self._ill[name] = None
        return True

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._ill = {endpoint.name: None for endpoint in endpoints if endpoint.name in self._ill}

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in endpoints if endpoint.name not in self._ill)


class Panic(Chain):
    """What its filters let through; everybody, if that is less than `below` of them. 0: never everybody."""

    def __init__(self, filters: Sequence[Filter], *, below: float = 0.5) -> None:
        within("below", below, 0, 1)
        super().__init__(filters)
        self._below = below
        self.panicking = False  # as of the last answer

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        through = super().apply(endpoints, now_s)
        self.panicking = len(through) < self._below * len(endpoints)
        return tuple(endpoints) if self.panicking else through
