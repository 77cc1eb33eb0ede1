"""How much will come: the load and the data at the horizon, in three scenarios.

Low and high are the ends of the interval that was measured or given, of load, growth, service time and data alike, each at its
convenient or its costly end; middle is their values. What was given as one exact number is the same in all three. Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from loggos.base.errors import InputError
from loggos.planner.plan.capacity import Level
from loggos.planner.plan.intent import Intent, Quantity, estimate
from loggos.planner.types import Estimate

LEVELS: Final[dict[str, Level]] = {"low": "low", "middle": "value", "high": "high"}


class Scenario(NamedTuple):
    """What one scenario asks for at the horizon. Data and flows before replication."""

    name: str
    level: Level
    per_s: float
    data_gb: float = 0.0
    produce_mb_per_s: float = 0.0
    consume_mb_per_s: float = 0.0


class Expected(NamedTuple):
    """The three scenarios, the load of today (None: only a forecast was handed in), and where the figures come from."""

    scenarios: tuple[Scenario, ...]
    today: Scenario | None
    load: Estimate
    source: str

    @property
    def middle(self) -> Scenario:
        return self.scenarios[1]


def grown(now: Quantity, growth: Quantity, years: float, level: Level) -> float:
    """After compound growth, all at one end of its interval."""
    return float(getattr(estimate(now), level) * (1 + getattr(estimate(growth), level)) ** years)


def expected(intent: Intent, forecast: Estimate | None = None, source: str = "") -> Expected:
    """The scenarios of an intent. `forecast`: the peak of the load until the horizon, in requests per second, and `source` where
    it is from; without it the load is that of the intent, grown. InputError if neither is there."""
    if forecast is None and intent.load.per_s is None:
        raise InputError("the load is not known: write load.per_s, or hand in a measured series with --data")
    scenarios = []
    for name, level in LEVELS.items():
        if forecast is not None:
            per_s = float(getattr(forecast, level))
        else:
            assert intent.load.per_s is not None
            per_s = grown(intent.load.per_s, intent.load.growth_per_year, intent.years, level)
        per_s += getattr(estimate(intent.load.extra_per_s), level)
        scenarios.append(scenario(intent, name, level, per_s, intent.years))
    load = Estimate(scenarios[1].per_s, scenarios[0].per_s, scenarios[2].per_s)
    today = None
    if intent.load.per_s is not None:
        today = scenario(intent, "today", "value", estimate(intent.load.per_s).value, 0.0)
    return Expected(tuple(scenarios), today, load, source or growth_words(intent))


def scenario(intent: Intent, name: str, level: Level, per_s: float, years: float) -> Scenario:
    data, streams = intent.data, intent.streams
    return Scenario(
        name,
        level,
        per_s,
        grown(data.size_gb, data.growth_per_year, years, level) if data is not None else 0.0,
        grown(streams.produce_mb_per_s, streams.growth_per_year, years, level) if streams is not None else 0.0,
        grown(streams.consume_mb_per_s, streams.growth_per_year, years, level) if streams is not None else 0.0,
    )


def growth_words(intent: Intent) -> str:
    growth = estimate(intent.load.growth_per_year)
    exact = growth.low == growth.high
    rate = f"{100 * growth.value:g} %" if exact else f"{100 * growth.value:g} % ({100 * growth.low:g} to {100 * growth.high:g} %)"
    return f"the stated load, grown by {rate} a year over {12 * intent.years:.1f} months (horizon and lead time)"
