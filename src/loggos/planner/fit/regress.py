"""Least squares with bounds on the parameters: estimates, standard errors, how much of the variation is explained.

Standard errors come from the Jacobian at the solution, rse^2 (J'J)^-1; intervals from Student's t with n - p degrees of freedom.
A parameter at its bound keeps the standard error it would have if it could pass the bound, which is too wide rather than too
narrow; its interval ends at the bound. Source: Seber and Wild, Nonlinear Regression (1989), ch. 2 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy import optimize, stats

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_SEARCH_STEPS_MAX
from loggos.planner.fit.models import Model
from loggos.planner.fit.points import Points
from loggos.planner.types import Floats

# smallest singular value of the Jacobian with columns of length 1; below it the points leave a parameter undetermined
SINGULAR: Final = 1e-7
# when a search ends: at relative changes far below any standard error
PRECISION: Final = {"xtol": 1e-10, "ftol": 1e-12, "gtol": 1e-12, "max_nfev": PLANNER_SEARCH_STEPS_MAX}
AT_BOUND: Final = 1e-9  # nearer to its bound than this part of its typical size, a parameter is at its bound


class Regression(NamedTuple):
    """Parameters and how well they are known. The residual standard error is a share of the value if errors are relative."""

    parameters: Floats
    covariance: Floats
    residual_standard_error: float
    degrees_of_freedom: int
    r_squared: float
    adjusted_r_squared: float


def solve(model: Model, points: Points, relative: bool = False, near: Floats | None = None) -> tuple[Floats, Floats]:
    """The parameters that fit best, and the Jacobian there; needs as many points as parameters. InputError if no search ends.

    The search starts from all the places the model names, or only from `near`, where the answer is known to be close.
    """
    weights = weights_of(points, relative)
    low, high = np.array(model.low), np.array(model.high(points))

    def misses(parameters: Floats) -> Floats:
        return (model.curve(points.load, parameters) - points.value) / weights

    guesses = model.starts(points)
    typical = np.max(np.abs(guesses), axis=0)
    inner = np.where(np.isinf(high), high, high * (1 - 1e-6))
    starts = [np.clip(start, low, inner) for start in (guesses if near is None else [near])]

    def slopes(parameters: Floats) -> Floats:
        return jacobian(misses, parameters, low, high, typical)

    best = None
    for start in starts:
        found = optimize.least_squares(misses, start, slopes, (low, high), x_scale="jac", **PRECISION)
        if np.isfinite(found.cost) and (best is None or found.cost < best.cost):
            best = found
    if best is None:
        raise InputError(f"{points.where}no {model.name} curve comes near these points: measure at loads further apart")
    parameters = np.where(best.x - low <= AT_BOUND * typical, low, best.x)
    return parameters, slopes(parameters)


def regress(model: Model, points: Points, relative: bool = False) -> Regression:
    """Fit one model. InputError if there are too few points, or the points do not determine the parameters."""
    _enough(model, points)
    weights = weights_of(points, relative)
    parameters, slopes = solve(model, points, relative)
    residuals = (points.value - model.curve(points.load, parameters)) / weights
    freedom = len(points) - len(model.parameters)
    squares = float(residuals @ residuals)
    variance = squares / freedom
    centre = float((points.value / weights**2).sum() / (1 / weights**2).sum())
    spread = float((((points.value - centre) / weights) ** 2).sum())
    explained = 1 - squares / spread
    adjusted = 1 - variance / (spread / (len(points) - 1))
    covariance = variance * _inverse(model, points, slopes)
    return Regression(parameters, covariance, math.sqrt(variance), freedom, explained, adjusted)


def margin(level: float, degrees_of_freedom: int) -> float:
    """How many standard errors an interval reaches to either side: Student's t."""
    return float(stats.t.ppf((1 + level) / 2, degrees_of_freedom))


def jacobian(function: Callable[[Floats], Floats], parameters: Floats, low: Floats, high: Floats, typical: Floats) -> Floats:
    """How each value of `function` changes with each parameter: central differences that stay within the bounds."""
    columns = []
    for place, value in enumerate(parameters):
        step = 1e-6 * max(abs(value), 1e-2 * typical[place], 1e-12)
        up, down = parameters.copy(), parameters.copy()
        up[place], down[place] = min(value + step, high[place]), max(value - step, low[place])
        columns.append((function(up) - function(down)) / (up[place] - down[place]))
    return np.column_stack(columns)


def weights_of(points: Points, relative: bool) -> Floats:
    if not relative:
        return np.ones(len(points))
    if (points.value <= 0).any():
        place = int(np.flatnonzero(points.value <= 0)[0])
        raise InputError(f"{points.where}point {place + 1}: {points.value_name} is 0: relative errors need values above 0")
    return points.value


def _enough(model: Model, points: Points) -> None:
    unknown = len(model.parameters)
    distinct = np.unique(points.load).size
    if len(points) < unknown + 1 or distinct < max(2, unknown):
        raise InputError(
            f"{points.where}{len(points)} points at {distinct} loads are too few for {model.name}: measure {unknown + 1} points"
            f" or more, at {max(2, unknown)} different loads or more, the largest near saturation"
        )
    if np.ptp(points.value) == 0:
        raise InputError(
            f"{points.where}{points.value_name} is {points.value[0]:g} at every load from {points.load.min():g} to"
            f" {points.load.max():g}: measure at loads low enough for it to change"
        )


def _inverse(model: Model, points: Points, slopes: Floats) -> Floats:
    """(J'J)^-1 by singular values of J with columns of length 1."""
    lengths = np.linalg.norm(slopes, axis=0)
    scaled = slopes / np.where(lengths > 0, lengths, 1.0)
    _, values, right = np.linalg.svd(scaled, full_matrices=False)
    if values[-1] < SINGULAR or (lengths == 0).any():
        vague = model.parameters[int(np.abs(right[-1]).argmax() if (lengths > 0).all() else lengths.argmin())]
        raise InputError(
            f"{points.where}these points do not determine {vague} of {model.name}: measure at loads further"
            " apart, up to saturation"
        )
    inner = (right.T / values**2) @ right
    answer: Floats = inner / np.outer(lengths, lengths)
    return answer
