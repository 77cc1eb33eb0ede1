"""The models: each fits a training window and simulates futures as paths. Pure; chance comes from the generator handed in.

    SeasonalNaive   the last season again; its errors are past differences between seasons, drawn in whole seasons and added up
    TheilSen        a Theil-Sen line, the level of each phase, a wandering level (AR(1) over days), and noise drawn in blocks;
                    in logarithms (growth in percent) where all is positive
    Smoothing       exponential smoothing of level, damped trend and season (ETS), fitted by statsmodels on the recent past;
                    multiplicative where all is positive

Rules: outliers do not move a fit, but are drawn again in the paths, for capacity must hold them. Shifts of level were taken out
before. Nothing is fitted by looking at what comes after the window.

Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., §5.2, §8.5-8.7; Sen (1968), "Estimates of the
regression coefficient based on Kendall's tau".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from loggos.base.limits import FORECAST_ETS_POINTS_MAX
from loggos.planner.forecast.seasons import deviation, moving_average, phase_levels, phase_medians
from loggos.planner.types import Floats

Generator = np.random.Generator

_BLOCKS_MAX = 400  # a line is fitted through the medians of this many blocks: 80,000 slopes
_OUTLIER_DEVIATIONS = 6.0
_ETS_PERIOD_MAX = 400  # longer seasons have more states than weeks of data can tell
_WANDER_MAX = 0.99  # of the level over blocks: it comes back, if slowly
_ETS_TRIES_MAX = 250  # of parameters: 40 ms
_FLOOR = 1e-9  # of positive loads relative to their median, where a logarithm is taken


class Fitted(Protocol):
    """A model that knows its training window."""

    def median(self, steps: int) -> Floats: ...

    def paths(self, steps: int, count: int, rng: Generator) -> Floats:
        """`count` possible futures: an array of count × steps."""


class Training(NamedTuple):
    """A window as it was (`raw`), and without outliers (`clean`); `spikes`: what was taken off."""

    raw: Floats
    clean: Floats
    spikes: Floats
    periods: tuple[int, ...]

    @property
    def season(self) -> int:
        """The longest season in steps; 1: none."""
        return self.periods[-1] if self.periods else 1


Fit = Callable[[Training], Fitted | None]


def training_of(values: Floats, periods: tuple[int, ...]) -> Training:
    """A window made ready: outliers are what lies far off a moving average and the season."""
    season = periods[-1] if periods else 1
    flat = values - moving_average(values, max(season, 3))
    usual = np.resize(phase_medians(flat, season), len(flat)) if season > 1 and len(flat) >= 2 * season else np.zeros(len(flat))
    rest = flat - usual
    bound = _OUTLIER_DEVIATIONS * max(deviation(rest), 1e-12)
    spikes = rest - np.clip(rest, float(np.median(rest)) - bound, float(np.median(rest)) + bound)
    return Training(values, values - spikes, spikes, periods)


def drawn_blocks(source: Floats, width: int, steps: int, count: int, rng: Generator) -> Floats:
    """count × steps values drawn from `source` in runs of `width`, so that what belongs together stays together."""
    width = max(1, min(width, len(source)))
    blocks = -(-steps // width)
    starts = rng.integers(0, len(source) - width + 1, size=(count, blocks))
    picked: Floats = source[starts[:, :, None] + np.arange(width)[None, None, :]].reshape(count, blocks * width)
    return picked[:, :steps]


# --- seasonal naive ---


@dataclass(frozen=True, slots=True)
class SeasonalNaive:
    """What every other model must beat."""

    last: Floats
    differences: Floats

    def median(self, steps: int) -> Floats:
        return np.resize(self.last, steps)

    def paths(self, steps: int, count: int, rng: Generator) -> Floats:
        season = len(self.last)
        cycles = -(-steps // season)
        drawn = drawn_blocks(self.differences, season, cycles * season, count, rng).reshape(count, cycles, season)
        return (self.last + np.cumsum(drawn, axis=1)).reshape(count, cycles * season)[:, :steps]


def fit_seasonal_naive(training: Training) -> Fitted:
    season = training.season
    differences = training.raw[season:] - training.raw[:-season]
    return SeasonalNaive(training.raw[-season:], differences - float(np.median(differences)))


# --- Theil-Sen ---


@dataclass(frozen=True, slots=True)
class TheilSen:
    """Everything in the units of the fit (logarithms, if `logarithmic`). A block is what the line is fitted on: usually a day."""

    logarithmic: bool
    level: float  # of the line, at the end of the window
    slope: float  # per step
    slope_error: float
    season: Floats  # starting with the phase of the first step to come
    block: int
    wander: float  # AR(1) coefficient of blocks
    now: float  # how far the last block lies off the line
    innovations: Floats  # of blocks
    noise: Floats  # of steps, around their block
    spikes: Floats

    def median(self, steps: int) -> Floats:
        ahead = np.arange(1, steps + 1, dtype=np.float64)
        decay = self.wander ** (np.ceil(ahead / self.block))
        line: Floats = self.level + self.slope * ahead + self.now * decay + np.resize(self.season, steps)
        return np.asarray(np.exp(np.minimum(line, 700.0))) if self.logarithmic else line

    def paths(self, steps: int, count: int, rng: Generator) -> Floats:
        ahead = np.arange(1, steps + 1, dtype=np.float64)
        blocks = -(-steps // self.block)
        shocks = self.innovations[rng.integers(0, len(self.innovations), size=(count, blocks))]
        levels = np.empty((count, blocks))
        level = np.full(count, self.now)
        for i in range(blocks):
            level = self.wander * level + shocks[:, i]
            levels[:, i] = level
        slopes = self.slope + self.slope_error * rng.standard_normal((count, 1))
        done = np.repeat(levels, self.block, axis=1)[:, :steps]
        done += self.level + slopes * ahead + np.resize(self.season, steps)
        done += drawn_blocks(self.noise, self.block, steps, count, rng)
        if self.logarithmic:
            np.exp(np.minimum(done, 700.0), out=done)
        done += drawn_blocks(self.spikes, self.block, steps, count, rng)
        return done


def fit_theil_sen(training: Training) -> Fitted | None:
    return _theil_sen(training, training.clean, logarithmic=False)


def fit_theil_sen_log(training: Training) -> Fitted | None:
    """None where not all of the load is positive."""
    positive = training.clean
    if training.raw.min() <= 0:
        return None
    floor = _FLOOR * float(np.median(training.raw))
    return _theil_sen(training, np.log(np.maximum(positive, floor)), logarithmic=True)


def _theil_sen(training: Training, values: Floats, logarithmic: bool) -> Fitted | None:
    size, season = len(values), training.season
    block = _block_steps(training.periods, size)
    if size < max(2 * season, 6 * block):
        return None
    flat = values - moving_average(values, season) if season > 1 else np.zeros(size)
    profile = phase_medians(flat, season) if season > 1 else np.zeros(1)
    plain = values - np.resize(profile, size)
    slope, _ = _line(plain, block)
    # the moving average is flat at both ends: the profile once more, from what the line leaves
    ahead = np.arange(size, dtype=np.float64)
    profile = phase_levels(values - slope * ahead, season) if season > 1 else np.zeros(1)
    plain = values - np.resize(profile, size)
    slope, off = _line(plain, block)
    line = slope * (ahead - (size - 1))
    level = float(np.median(plain - line))
    rest = plain - line - level
    blocks = off - float(np.median(off))
    lag = _lag_one(blocks)
    wander = float(np.clip(lag + (1 + 3 * lag) / len(blocks), 0.0, _WANDER_MAX))  # Kendall's correction: short windows show less
    innovations = blocks[1:] - wander * blocks[:-1]
    noise = rest[-len(blocks) * block :] - np.repeat(blocks, block)
    error = _slope_error(blocks, block) * math.sqrt((1 + wander) / (1 - wander))
    return TheilSen(
        logarithmic,
        level,
        slope,
        error,
        np.roll(profile, -(size % season)),
        block,
        wander,
        float(blocks[-1]),
        innovations - float(innovations.mean()),
        noise - float(np.median(noise)),
        training.spikes,
    )


def _block_steps(periods: tuple[int, ...], size: int) -> int:
    """The shortest season if the window holds a dozen of them, else one step; several of it where there would be too many."""
    unit = periods[0] if periods and size >= 12 * periods[0] else 1
    return unit * max(1, -(-size // (unit * _BLOCKS_MAX)))


def _line(plain: Floats, block: int) -> tuple[float, Floats]:
    """The Theil-Sen slope per step, and how far the median of each block lies off a line of that slope."""
    count = len(plain) // block
    medians: Floats = np.median(plain[len(plain) - count * block :].reshape(count, block), axis=1)
    i, j = np.triu_indices(count, 1)
    slope = float(np.median((medians[j] - medians[i]) / (j - i))) / block
    return slope, medians - slope * block * np.arange(count)


def _lag_one(values: Floats) -> float:
    centred = values - values.mean()
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0


def _slope_error(blocks: Floats, block: int) -> float:
    """The standard error of a line's slope per step through independent blocks; Theil-Sen loses 5 % against least squares."""
    count = len(blocks)
    spread = deviation(blocks) or float(blocks.std())
    return spread * math.sqrt(12.0 / count**3) / math.sqrt(0.95) / block


# --- exponential smoothing ---


@dataclass(frozen=True, slots=True)
class Smoothing:
    """The innovations form: y = (level + phi trend) [+ or ×] season [+ or ×(1 +)] e, and the states follow e."""

    multiplicative: bool
    alpha: float
    beta: float
    gamma: float
    phi: float
    level: float
    trend: float
    season: Floats  # starting with the next phase
    innovations: Floats
    spikes: Floats

    def median(self, steps: int) -> Floats:
        only: Floats = self._run(np.zeros((1, steps)))[0]
        return only

    def paths(self, steps: int, count: int, rng: Generator) -> Floats:
        drawn = drawn_blocks(self.innovations, max(1, len(self.season) // 7), steps, count, rng)
        futures = self._run(drawn)
        futures += drawn_blocks(self.spikes, max(1, len(self.season)), steps, count, rng)
        return futures

    def _run(self, errors: Floats) -> Floats:
        count, steps = errors.shape
        period = len(self.season)
        level, trend = np.full(count, self.level), np.full(count, self.trend)
        seasons = np.repeat(self.season[None, :], count, axis=0)
        done = np.empty((count, steps))
        for i in range(steps):
            phase, error = i % period, errors[:, i]
            base = level + self.phi * trend
            if self.multiplicative:
                done[:, i] = base * seasons[:, phase] * (1 + error)
                level = base * (1 + self.alpha * error)
                trend = self.phi * trend + self.beta * base * error
                seasons[:, phase] *= 1 + self.gamma * error
            else:
                done[:, i] = base + seasons[:, phase] + error
                level = base + self.alpha * error
                trend = self.phi * trend + self.beta * error
                seasons[:, phase] += self.gamma * error
        return done


def fit_smoothing(training: Training) -> Fitted | None:
    return _smoothing(training, multiplicative=False)


def fit_smoothing_multiplicative(training: Training) -> Fitted | None:
    """None where not all of the load is positive."""
    return _smoothing(training, multiplicative=True)


def _smoothing(training: Training, multiplicative: bool) -> Fitted | None:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel  # heavy: a second to import

    period = next((p for p in reversed(training.periods) if p <= _ETS_PERIOD_MAX and len(training.clean) >= 3 * p), 1)
    window = training.clean[-max(FORECAST_ETS_POINTS_MAX, 3 * period) :]
    if len(window) < 16 or (multiplicative and window.min() <= 0):
        return None
    scale = float(np.median(np.abs(window))) or 1.0
    model = ETSModel(
        window / scale,
        error="mul" if multiplicative else "add",
        trend="add",
        damped_trend=True,
        seasonal=("mul" if multiplicative else "add") if period > 1 else None,
        seasonal_periods=period if period > 1 else None,
        initialization_method="heuristic",
    )
    result = model.smooth(_likeliest(model.loglike, period > 1))
    states = [float(result.level[-1]), float(result.slope[-1]), float(result.alpha), float(result.beta), float(result.phi)]
    residuals = np.asarray(result.resid, dtype=np.float64)
    season = np.asarray(result.season[-period:], dtype=np.float64) if period > 1 else np.array([1.0 if multiplicative else 0.0])
    if not (np.isfinite(states).all() and np.isfinite(season).all() and np.isfinite(residuals).all()):
        return None
    level, slope, alpha, beta, phi = states
    unit = 1.0 if multiplicative else scale
    return Smoothing(
        multiplicative,
        alpha,
        beta,
        float(result.gamma) if period > 1 else 0.0,
        phi,
        level * scale,
        slope * scale,
        season * unit,
        (residuals - float(residuals.mean())) * unit,
        training.spikes[-len(window) :],
    )


def _likeliest(log_likelihood: Callable[[Floats], float], seasonal: bool) -> Floats:
    """alpha, beta, (gamma,) phi of the highest likelihood, by the simplex method from the best of a few starts.

    Not by the library's own search: that calls threaded linear algebra for four numbers, which on a busy machine takes 20 times
    as long. Bounds as in Hyndman and Athanasopoulos: beta <= alpha, gamma <= 1 - alpha, 0.8 <= phi <= 0.98.
    """
    from scipy.optimize import minimize

    def cost(point: Floats) -> float:
        alpha, beta, gamma, phi = point[0], point[1], point[2] if seasonal else 1e-4, point[-1]
        inside = 1e-4 <= alpha < 1 and 1e-4 <= beta <= alpha and 1e-4 <= gamma <= 1 - alpha + 1e-4 and 0.8 <= phi <= 0.98
        value = -float(log_likelihood(point)) if inside else math.inf
        return value if math.isfinite(value) else math.inf

    starts = [
        np.array([alpha, share * alpha, *([0.05] if seasonal else []), phi])
        for alpha in (0.1, 0.4, 0.9)
        for share in (0.01, 0.5)
        for phi in (0.82, 0.95)
    ]
    with np.errstate(all="ignore"):
        start = min(starts, key=cost)
        found = minimize(cost, start, method="Nelder-Mead", options={"maxfev": _ETS_TRIES_MAX, "xatol": 1e-3, "fatol": 1e-2})
    best: Floats = found.x if math.isfinite(cost(found.x)) else start
    return best


MODELS: tuple[tuple[str, Fit], ...] = (
    ("Theil-Sen", fit_theil_sen),
    ("Theil-Sen of logarithms", fit_theil_sen_log),
    ("ETS additive", fit_smoothing),
    ("ETS multiplicative", fit_smoothing_multiplicative),
)
NAIVE = "seasonal naive"
