"""Synthetic loads of known truth: trend, days, weeks, noise, outliers, shifts of level; every one from a seed."""

from __future__ import annotations

import numpy as np

from loggos.planner.types import Floats, Series

HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 604_800.0
START_S = 1_699_920_000.0  # 2023-11-14, midnight UTC


def hourly(
    seed: int,
    hours: int,
    *,
    trend: float = 0.0,  # share of the level per year
    growth: float = 0.0,  # of the logarithm per year; days and weeks grow with it
    noise: float = 0.05,  # share of the level
    memory: float = 0.0,  # AR(1) of the noise, per hour
    shift: float = 0.0,  # share of the level, once
    shift_at: float = 0.55,  # share of the hours
    spikes: float = 0.0,  # share of hours
    days: float = 0.3,
    weeks: float = 0.15,
) -> Floats:
    """Hourly values around 1,000: work days are higher, nights are lower."""
    rng = np.random.default_rng(seed)
    at = np.arange(hours)
    shape = days * (np.sin(2 * np.pi * (at % 24 - 9) / 24) + 0.3 * np.sin(4 * np.pi * at / 24))
    shape = shape - weeks * ((at // 24) % 7 >= 5)
    draws = rng.normal(0.0, noise, hours)
    for i in range(1, hours if memory else 0):
        draws[i] = memory * draws[i - 1] + np.sqrt(1 - memory**2) * draws[i]
    level = (1 + trend * at / 8_760 + shift * (at >= shift_at * hours)) * np.exp(growth * at / 8_760)
    parts = level * (1 + shape) * np.exp(draws) if growth else level + shape + draws
    parts = parts + (rng.random(hours) < spikes) * rng.exponential(0.8, hours)
    return np.maximum(1_000.0 * parts, 0.0)


def series(values: Floats | list[float], step_s: float = HOUR_S, start_s: float = START_S) -> Series:
    held = np.asarray(values, dtype=np.float64)
    return Series("load", "1/s", start_s + step_s * np.arange(len(held), dtype=np.float64), held, {}, "load.csv")
