"""Which seasons a load has, and where its level shifted. Pure.

A season (hour, day, week) is believed if the means of its phases explain a share of what is left after a moving average,
adjusted for their number, and clearly more than seasons of lengths that nobody would expect; and if the changes from part to part
of it differ beyond chance, which noise that wanders does not do. A shift of level is a step that improves a quadratic fit of the
deseasonalised load by far more than chance, and is seen at its place.

Source: the strength of seasonality after Wang, Smith and Hyndman (2006), "Characteristic-based clustering for time series data",
§3; the step as a Chow-type test over all places, Andrews (1993), Econometrica 61(4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import FORECAST_PERIOD_MAX
from loggos.planner.forecast.history import History
from loggos.planner.observe.findings import Kind, Ledger, Severity, duration_text, time_text
from loggos.planner.types import Floats

NAMED_S = {"hour": 3_600.0, "day": 86_400.0, "week": 604_800.0}
DETECTED = ("hour", "day", "week")
CYCLES_MIN = 3  # of a season that is to be detected; a named one needs two
_STRENGTH_MIN = 0.1
_CONTROLS = (0.79, 0.88, 1.13, 1.23)  # lengths that no load has, against which the expected ones are judged
_PARTS = 12  # of a season, that the test against wandering noise looks at
_CHANCE = 0.001  # that this test believes a season that is not there
_SHIFT_BLOCKS = (12, 400)  # the level is looked at in this many blocks, at least and at most
_SHIFT_F = 60.0  # far beyond the 1 % point (about 16) of the supremum test: noise of real loads is correlated
_SHIFT_DEVIATIONS = 4.0
_SHIFTS_MAX = 3


class Shift(NamedTuple):
    """From this step on, the level is higher by `size` (lower, if negative), `ratio` times the one before. `scales`: the swings
    of the load around its level changed with it."""

    at: int
    size: float
    ratio: float
    scales: bool


def seasons_of(history: History, wanted: Sequence[str | float] | None, ledger: Ledger) -> tuple[int, ...]:
    """The lengths of the seasons in steps, ascending; () if there are none.

    `wanted`: names ("hour", "day", "week") or seconds; () for none; None to detect. InputError: a season that is no whole
    number of steps, or too long for the history.
    """
    if wanted is not None:
        return tuple(sorted({_named(history, season) for season in wanted}))
    found: list[int] = []
    left = history.values
    for name in DETECTED:
        period = _whole(NAMED_S[name], history.step_s)
        if period is None:
            continue
        if len(left) < CYCLES_MIN * period:
            if period <= FORECAST_PERIOD_MAX and len(left) > period:
                have = duration_text(len(left) * history.step_s)
                what = f"{have} are too short to show whether load follows the {name}"
                ledger.add(Kind.SEASON, Severity.WARNING, what, advice=f"measure {CYCLES_MIN} {name}s, or name the season")
            continue
        flat = _clipped(left - moving_average(left, period))
        share = _strength(flat, period)
        control = max(_strength(flat, max(2, round(period * factor))) for factor in _CONTROLS)
        if share >= _STRENGTH_MIN and share > 2 * control and _chance(left, period) < _CHANCE:
            found.append(period)
            left = left - np.resize(_phase_means(flat, period), len(left))
    return tuple(found)


def _named(history: History, season: str | float) -> int:
    if isinstance(season, str) and season not in NAMED_S:
        raise InputError(f"there is no season {season!r}; name {', '.join(NAMED_S)}, or its length in seconds")
    length_s = NAMED_S[season] if isinstance(season, str) else float(season)
    period = _whole(length_s, history.step_s)
    if period is None:
        raise InputError(
            f"a season of {duration_text(length_s)} is not 2 to {FORECAST_PERIOD_MAX:,} steps of {duration_text(history.step_s)}"
            "; resample to a step that divides it"
        )
    if len(history.values) < 2 * period:
        have = duration_text(len(history.values) * history.step_s)
        raise InputError(f"{have} do not hold two seasons of {duration_text(length_s)}; measure longer, or leave the season out")
    return period


def _whole(length_s: float, step_s: float) -> int | None:
    steps = length_s / step_s
    return round(steps) if 2 <= steps <= FORECAST_PERIOD_MAX and abs(steps - round(steps)) < 0.01 else None


def moving_average(values: Floats, width: int) -> Floats:
    """Centred, over `width` steps; at the ends over what there is, as a level without trend."""
    if width < 2 or len(values) <= width:
        return np.full(len(values), float(values.mean()))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    middle = (sums[width:] - sums[:-width]) / width
    before = (width - 1) // 2
    return np.concatenate((np.full(before, middle[0]), middle, np.full(len(values) - len(middle) - before, middle[-1])))


def deviation(values: Floats) -> float:
    """A robust standard deviation: 1.4826 times the median distance from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _clipped(values: Floats) -> Floats:
    middle, spread = float(np.median(values)), deviation(values)
    return np.clip(values, middle - 6 * spread, middle + 6 * spread) if spread > 0 else values


def _phase_means(values: Floats, period: int) -> Floats:
    phases = np.arange(len(values)) % period
    means: Floats = np.bincount(phases, weights=values, minlength=period) / np.bincount(phases, minlength=period)
    return means


def phase_medians(values: Floats, period: int) -> Floats:
    """The median of each phase of a season, with their median taken out."""
    cycles = -(-len(values) // period)
    padded = np.concatenate((values, np.full(cycles * period - len(values), np.nan))).reshape(cycles, period)
    medians: Floats = np.nanmedian(padded, axis=0)
    return medians - float(np.median(medians))


def phase_levels(values: Floats, period: int) -> Floats:
    """The mean of each phase of a season without the highest and the lowest tenth (one each, from five seasons on), their median
    taken out: nearly as exact as the mean, and a holiday does not move it."""
    cycles = len(values) // period
    trim = max(1, cycles // 10) if cycles >= 5 else 0
    held = np.sort(values[len(values) - cycles * period :].reshape(cycles, period), axis=0)[trim : cycles - trim]
    levels: Floats = np.roll(held.mean(axis=0), len(values) % period)
    return levels - float(np.median(levels))


def _strength(values: Floats, period: int) -> float:
    """The share of variance that the phases explain, adjusted for their number."""
    size, total = len(values), float(values.var())
    if total == 0 or size <= 2 * period:
        return 0.0
    left = float((values - np.resize(_phase_means(values, period), size)).var())
    return 1.0 - left / total * (size - 1) / (size - period)


def _chance(values: Floats, period: int) -> float:
    """The probability that the changes between parts of a season differ by phase as much as they do by chance alone: an F test.
    Changes, because noise that wanders has independent changes and no independent values."""
    from scipy.special import fdtrc

    parts = min(period, _PARTS)
    at = np.arange(len(values))
    places = at // period * parts + at % period * parts // period
    means = np.bincount(places, weights=values) / np.bincount(places)
    changes = _clipped(np.diff(means))
    size, total = len(changes), float(changes.var())
    if total == 0 or size <= 2 * parts:
        return 1.0
    left = float((changes - np.resize(_phase_means(changes, parts), size)).var())
    return float(fdtrc(parts - 1, size - parts, (total - left) / (parts - 1) / max(left / (size - parts), 1e-300)))


def level_shifts(values: Floats, periods: Sequence[int]) -> tuple[Shift, ...]:
    """Up to three steps in the level, the clearest first; () if there is none, or too little to tell."""
    seasonal, flat = values, values - moving_average(values, periods[-1] if periods else 3)
    if periods:
        seasonal = values - np.resize(phase_medians(flat, periods[-1]), len(values))
    width = max(periods[0] if periods else 1, -(-len(values) // _SHIFT_BLOCKS[1]))
    if periods and width > periods[0]:
        width = -(-width // periods[0]) * periods[0]
    count = len(values) // width
    if count < _SHIFT_BLOCKS[0]:
        return ()
    offset = len(values) - count * width
    level: Floats = np.median(seasonal[offset:].reshape(count, width), axis=1)
    found: list[Shift] = []
    for _ in range(_SHIFTS_MAX):
        step = _clearest_step(level)
        if step is None:
            break
        block, size, before = step
        ratio = (before + size) / before if before > 0 and before + size > 0 else 1.0
        at = offset + block * width
        found.append(Shift(at, size, ratio, _scales(flat, at, ratio)))
        level = level.copy()
        level[:block] += size
    return tuple(found)


def _clearest_step(level: Floats) -> tuple[int, float, float] | None:
    """(block, size, level just before) of the step that improves a quadratic the most, if that is beyond chance."""
    count = len(level)
    t = np.linspace(-1.0, 1.0, count)
    basis, _ = np.linalg.qr(np.column_stack((np.ones(count), t, t * t)))
    steps = (np.arange(count)[:, None] >= np.arange(3, count - 2)[None, :]).astype(np.float64)
    own = level - basis @ (basis.T @ level)
    free = steps - basis @ (basis.T @ steps)
    dots, norms = own @ free, (free * free).sum(axis=0)
    gains = dots * dots / norms
    best = int(gains.argmax())
    size = float(dots[best] / norms[best])
    rest = float(own @ own) - float(gains[best])
    after_fit = own - size * free[:, best]
    block = best + 3
    width = min(7, block, count - block)
    # a level that wanders moves as far in a few blocks without any step
    spread = max(deviation(after_fit), deviation(level[width:] - level[:-width]), 1e-12)
    if float(gains[best]) * (count - 4) < _SHIFT_F * max(rest, 1e-300) or abs(size) < _SHIFT_DEVIATIONS * spread:
        return None
    before, after = float(np.median(level[block - width : block])), float(np.median(level[block : block + width]))
    if (after - before) * np.sign(size) < 0.6 * abs(size):
        return None
    return block, size, before


def _scales(flat: Floats, at: int, ratio: float) -> bool:
    """Whether the swings after a shift are nearer to `ratio` times the ones before than to the same."""
    before, after = deviation(flat[:at]), deviation(flat[at:])
    if before <= 0 or after <= 0 or not 0.1 <= ratio <= 10:
        return False
    swing = np.log(after / before)
    return bool(abs(swing - np.log(ratio)) < abs(swing))


def without_shifts(values: Floats, shifts: Sequence[Shift]) -> Floats:
    """The history as if it had always had today's level: scaled where its swings scaled with it, moved otherwise."""
    done = values.copy()
    for shift in shifts:
        if shift.scales:
            done[: shift.at] *= shift.ratio
        else:
            done[: shift.at] += shift.size
    return done


def note_shifts(history: History, shifts: Sequence[Shift], ledger: Ledger) -> None:
    """A finding per shift."""
    for shift in shifts:
        at = time_text(history.time_s(shift.at))
        what = f"the level shifted by {shift.size:+,.4g} ({shift.ratio - 1:+.0%}): what came before counts for its shape only"
        advice = "the intervals hold no further steps: add the ones that are planned as events"
        ledger.add(Kind.LEVEL_SHIFT, Severity.WARNING, what, at, advice)
