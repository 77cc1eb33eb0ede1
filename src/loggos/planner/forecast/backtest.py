"""Rolling origins: every model forecasts stretches of the past from what came before them, and is judged by what did come. Pure.

Rules: origins lie in the second half of the history, evenly, at most 8; the stretch is as long as the horizon where the history
allows. MASE: mean absolute error relative to the seasonal naive one inside the window, so 1 is as good as naive one season ahead.
Coverage: the share of what came that lay within the model's interval. Values that were filled in are not judged on. The seasonal
naive forecast is the bar: another model is taken only if it is better at half of the origins at least, and on average by 2 %
(by more where stretches overlap, for then they prove less).

The spread of the chosen model's paths is scaled so that past coverage becomes nominal (as conformal prediction does, with one
factor, bounded), and a little further, the more the origins disagree on that factor.

Source: Hyndman and Koehler (2006), "Another look at measures of forecast accuracy"; Tashman (2000), "Out-of-sample tests of
forecasting accuracy".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loggos.base.limits import FORECAST_ORIGINS_MAX
from loggos.planner.forecast.history import History
from loggos.planner.forecast.models import MODELS, NAIVE, Fit, Fitted, Generator, Training, fit_seasonal_naive, training_of
from loggos.planner.types import Floats

LEVELS = (0.8, 0.95)
ORIGINS_MIN = 2
_PATHS = 200
_BETTER_BY = 0.02  # and more where few stretches do not overlap: by 0.1 divided by their number
_BETTER_BY_ONE = 0.1
_SCALE_RANGE = (0.5, 3.0)
_WINDOW_SHARE = 0.5  # of the history before the first origin
_STRETCH_SHARE = 2 / 3  # of the rest is the longest stretch


class Score(NamedTuple):
    """How a model did: mean MASE, coverage of its intervals (80 and 95 %), at how many of the origins it beat the naive one.

    `spread`: by what its intervals would have had to be scaled.
    """

    model: str
    mase: float
    coverage: tuple[float, ...]
    wins: int
    origins: int
    spread: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """The scores, naive first; which model is chosen, and over how many steps it was tested (0: too short to test)."""

    chosen: str
    scores: tuple[Score, ...] = ()
    stretch_steps: int = 0
    fits: dict[str, Fit] = field(default_factory=dict)

    def score(self, model: str) -> Score | None:
        return next((score for score in self.scores if score.model == model), None)


class _Outcome(NamedTuple):
    """One model at one origin."""

    mase: float
    coverage: tuple[float, ...]
    reach: Floats  # distance from the median relative to the interval's reach on that side, at the wider level


def origins_of(size: int, season: int, steps: int) -> tuple[tuple[int, ...], int]:
    """Where windows end, and the length of the stretch after them; no origins if the history is too short."""
    first = max(3 * season, round(_WINDOW_SHARE * size), 8)
    stretch = min(steps, max(1, int((size - first) * _STRETCH_SHARE)))
    last = size - stretch
    if last - first < ORIGINS_MIN - 1:
        return (), 0
    places = np.linspace(first, last, min(FORECAST_ORIGINS_MAX, last - first + 1))
    return tuple(int(place) for place in places), stretch


def backtest(
    history: History, periods: tuple[int, ...], steps: int, rng: Generator, models: Sequence[tuple[str, Fit]] = MODELS
) -> Backtest:
    """Every model at every origin, and which of them is to be used for `steps` ahead."""
    fits: dict[str, Fit] = {NAIVE: fit_seasonal_naive, **dict(models)}
    origins, stretch = origins_of(len(history.values), periods[-1] if periods else 1, steps)
    if not origins:
        return Backtest(NAIVE, fits=fits)
    outcomes: dict[str, list[_Outcome | None]] = {name: [] for name in fits}
    for origin in origins:
        training = training_of(history.values[:origin], periods)
        came, judged = history.values[origin : origin + stretch], history.measured[origin : origin + stretch]
        for name, fit in fits.items():
            fitted = fit(training)
            outcomes[name].append(None if fitted is None else _judge(fitted, training, came, judged, rng))
    independent = max(1.0, (len(history.values) - origins[0]) / stretch)  # stretches that do not overlap
    scores = tuple(_score(name, found, outcomes[NAIVE], independent) for name, found in outcomes.items() if None not in found)
    return Backtest(_choose(scores, _BETTER_BY + _BETTER_BY_ONE / independent), scores, stretch, fits)


def _judge(fitted: Fitted, training: Training, came: Floats, judged: NDArray[np.bool_], rng: Generator) -> _Outcome | None:
    steps, season = len(came), training.season
    median = fitted.median(steps)
    paths = fitted.paths(steps, _PATHS, rng)
    if not (np.isfinite(median).all() and np.isfinite(paths).all()):
        return None
    errors = np.abs(came - median)[judged]
    if not len(errors):
        return _Outcome(1.0, LEVELS, np.ones(1))
    naive = np.abs(training.raw[season:] - training.raw[:-season])
    scale = max(float(naive.mean()), 1e-9 * float(np.abs(training.raw).max()))
    coverage, reach = [], np.ones(1)
    for level in LEVELS:
        low, high = np.quantile(paths, [(1 - level) / 2, (1 + level) / 2], axis=0)
        coverage.append(float(((came >= low) & (came <= high))[judged].mean()))
        side = np.where(came >= median, high - median, median - low)[judged]
        reach = errors / np.maximum(side, 1e-12 * scale)
    return _Outcome(float(errors.mean()) / scale, tuple(coverage), reach)


def _score(name: str, found: Sequence[_Outcome | None], naive: Sequence[_Outcome | None], independent: float) -> Score:
    outcomes = [outcome for outcome in found if outcome is not None]
    wins = sum(a.mase < b.mase for a, b in zip(outcomes, naive, strict=True) if b is not None)
    coverage = tuple(float(np.mean([outcome.coverage[i] for outcome in outcomes])) for i in range(len(LEVELS)))
    reach = np.concatenate([outcome.reach for outcome in outcomes])
    each = np.array([np.quantile(outcome.reach, LEVELS[-1]) for outcome in outcomes])
    doubt = float(each.std() / max(float(each.mean()), 1e-12)) / math.sqrt(independent)
    spread = float(np.clip(np.quantile(reach, LEVELS[-1]) * (1 + doubt), *_SCALE_RANGE))
    return Score(name, float(np.mean([outcome.mase for outcome in outcomes])), coverage, wins, len(outcomes), spread)


def _choose(scores: Sequence[Score], better_by: float) -> str:
    naive = next((score for score in scores if score.model == NAIVE), None)
    if naive is None:
        return NAIVE
    better = [
        score
        for score in scores
        if score.model != NAIVE and score.mase < (1 - better_by) * naive.mase and 2 * score.wins >= score.origins
    ]
    return min(better, key=lambda score: score.mase).model if better else NAIVE
