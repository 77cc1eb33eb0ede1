"""Slow start: an end point that is new, or well again, gets a small weight at first, which grows to its full one in `window_s`.

weight × max(`least`, (age / window) ** (1 / `aggression`)): in a straight line with aggression 1, quicker at first above it. The
end points of the first answer are taken for warm: it is the balancer that is new then, not they. Weights grow in `steps` steps,
so that views stay the same for a while. Policies that ignore weights, and hashing ones that keep a table, ignore this.

Source: Envoy, "Slow start mode" (slow_start_window, aggression, min_weight_percent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from loggos.balance.filters.filter import Filter
from loggos.balance.policies.checks import above, whole, within
from loggos.balance.types import Endpoint


class SlowStart(Filter):
    """Lets everybody through, the new ones with less weight."""

    def __init__(self, window_s: float, *, aggression: float = 1.0, least: float = 0.1, steps: int = 20) -> None:
        above("window_s", window_s, 0)
        above("aggression", aggression, 0)
        above("least", least, 0)
        within("least", least, 0, 1)
        whole("steps", steps, 1)
        self._window_s, self._power, self._least = window_s, 1 / aggression, least
        self._step_s = window_s / steps
        self._since_s: dict[str, float] = {}  # of those in the last answer
        self._changes_at_s = inf

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        born_s = now_s if self._since_s else -inf
        self._since_s = {endpoint.name: self._since_s.get(endpoint.name, born_s) for endpoint in endpoints}
        young = any(now_s - since_s < self._window_s for since_s in self._since_s.values())
        self._changes_at_s = now_s + self._step_s if young else inf
        return tuple(self._ramped(endpoint, now_s) for endpoint in endpoints)

    def changes_at_s(self) -> float:
        return self._changes_at_s

    def _ramped(self, endpoint: Endpoint, now_s: float) -> Endpoint:
        grown = max(0.0, now_s - self._since_s[endpoint.name]) / self._window_s
        if grown >= 1:
            return endpoint
        return replace(endpoint, weight=endpoint.weight * max(self._least, grown**self._power))
