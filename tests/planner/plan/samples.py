"""Intents that several tests plan for."""

from __future__ import annotations

from typing import Any

import msgspec

from loggos.planner.plan.intent import Intent, parse

SMALL = """
name = "shop"
horizon_months = 12
lead_time_days = 0

[objective]
latency_ms = 50
quantile = 0.99
availability = 0.999

[load]
per_s = 1000

[demand.service]
mean_ms = 5

[[node]]
name = "small"
price_per_month = 40
cores = 4
memory_gb = 16
"""


def intent(**changes: dict[str, Any]) -> Intent:
    """The small one with parts of it changed: intent(load={"per_s": 2000})."""
    wanted = parse(SMALL, "shop.toml")
    for part, fields in changes.items():
        wanted = msgspec.structs.replace(wanted, **{part: msgspec.structs.replace(getattr(wanted, part), **fields)})
    return wanted
