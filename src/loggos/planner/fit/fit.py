"""`fit(models, points)`: the model that best predicts what it has not seen, with intervals, goodness and the range it holds in.

Models are compared by held-back error: each is fitted to some of the points and judged by the others. Points without order are
held back by load, one load (or a tenth of the loads) at a time; points in time order are each predicted from those before them.
Predictions beyond twice the largest measured load are refused unless forced: nothing measured supports them.
Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2nd ed.), section 7.10; Hyndman and Athanasopoulos,
Forecasting: Principles and Practice (3rd ed.), section 5.10 (rolling origin).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_FOLDS_MAX
from loggos.planner.fit import models as known
from loggos.planner.fit import regress
from loggos.planner.fit.models import Model
from loggos.planner.fit.points import Points
from loggos.planner.maths import usl
from loggos.planner.types import Estimate, Floats

RANGE_FACTOR: Final = 2.0  # times the largest measured load: the raytracer data fitted up to 20 err by 53 % at 64
TIE: Final = 1.01  # a model whose held-back error is within this of the best may win by having fewer parameters
SIGNAL_MIN: Final = 0.5  # adjusted R^2 below which noise is larger than signal

Status = Literal["measured", "extrapolated", "out of range"]


class Rival(NamedTuple):
    """A model that was tried. `held_back_error` in units of the value, or as a share of it if relative; inf if there is none."""

    name: str
    held_back_error: float
    parameters: int
    trouble: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted model. `words` say why it was chosen and how far it holds; `rivals` holds all that were tried, best first."""

    model: Model
    points: Points
    parameters: dict[str, Estimate]
    standard_errors: dict[str, float]
    r_squared: float
    residual_standard_error: float
    held_back_error: float
    rivals: tuple[Rival, ...]
    words: str
    level: float
    relative: bool
    regression: regress.Regression

    @property
    def valid_range(self) -> tuple[float, float]:
        """Loads for which `predict` answers without being forced."""
        end = self.model.ends(self.regression.parameters)
        return (0.0, min(RANGE_FACTOR * float(self.points.load.max()), end))

    def status(self, load: float) -> Status:
        """How far measurements support an answer at this load."""
        if float(self.points.load.min()) <= load <= float(self.points.load.max()):
            return "measured"
        return "extrapolated" if self.valid_range[0] <= load <= self.valid_range[1] else "out of range"

    def values(self, loads: Sequence[float] | Floats) -> Floats:
        """The fitted curve itself, for drawing and comparing; no interval, no range."""
        return self.model.curve(np.asarray(loads, dtype=np.float64), self.regression.parameters)

    def predict(self, load: float, force: bool = False) -> Estimate:
        """What one more measurement at this load would give: a prediction interval.

        InputError beyond the valid range, unless `force`d, and at loads that the model says cannot be carried.
        """
        return self._at(load, force, noise=self.residual_standard_error)

    def mean(self, load: float, force: bool = False) -> Estimate:
        """What many measurements at this load would give on average: a confidence interval. Errors as `predict`."""
        return self._at(load, force, noise=0.0)

    def derive(self, function: Callable[[Floats], float]) -> Estimate:
        """What follows from the parameters (an array in the model's order), with an interval by the delta method."""
        value = function(self.regression.parameters)
        reach = self._margin() * self._spread(lambda parameters: np.array([function(parameters)]))
        return Estimate(value, value - reach, value + reach, self.level)

    def _at(self, load: float, force: bool, noise: float) -> Estimate:
        self._in_range(load, force)
        value = float(self.values([load])[0])
        noise *= value if self.relative else 1.0
        reach = self._margin() * math.hypot(
            noise, self._spread(lambda parameters: self.model.curve(np.array([load]), parameters))
        )
        return Estimate(value, max(0.0, value - reach), value + reach, self.level)

    def _spread(self, function: Callable[[Floats], Floats]) -> float:
        """The standard error of what follows from the parameters: delta method."""
        at, low, high = self.regression.parameters, np.array(self.model.low), np.array(self.model.high(self.points))
        slope = regress.jacobian(function, at, low, high, np.sqrt(np.diag(self.regression.covariance)))[0]
        variance = float(slope @ self.regression.covariance @ slope) if np.isfinite(slope).all() else math.inf
        return math.sqrt(max(0.0, variance))

    def _in_range(self, load: float, force: bool) -> None:
        if not (math.isfinite(load) and load >= 0):
            raise InputError(f"a load of {load:g}: give a finite number, 0 or above")
        end = self.model.ends(self.regression.parameters)
        if load >= end:
            raise InputError(f"{self.model.name} saturates at {end:.4g} {self.points.load_name}: it cannot carry {load:g}")
        if self.status(load) == "out of range" and not force:
            raise InputError(
                f"{self.points.load_name} {load:g} is out of range: {self.model.name} was fitted up to"
                f" {self.points.load.max():g} and holds up to {self.valid_range[1]:g}; measure at {load / RANGE_FACTOR:g} or"
                " more, or force the answer"
            )

    def _margin(self) -> float:
        return regress.margin(self.level, self.regression.degrees_of_freedom)


def fit(models: Model | Sequence[Model], points: Points, *, relative: bool = False, level: float = 0.95) -> Fit:
    """Fit each model and keep the one with the smallest held-back error.

    `relative`: errors grow with the value, as those of response times do. InputError if no model fits: too few points, a
    constant load or value, noise larger than the signal; the message says what to measure next.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level:g}: the probability of an interval lies between 0 and 1")
    candidates = [models] if isinstance(models, Model) else list(models)
    if not candidates:
        raise InputError("no model to fit: name one at least")
    if len(points) and np.ptp(points.load) == 0:
        raise InputError(
            f"{points.where}{points.load_name} is {points.load[0]:g} at all {len(points)} points: measure at other loads"
            " too, from a tenth of the expected peak up to saturation"
        )
    rivals, fitted, first_trouble = [], {}, None
    for model in candidates:
        try:
            found = _significant(model, points, regress.regress(model, points, relative))
            fitted[model.name] = model, found
            missed = held_back_error(model, points, relative, near=found.parameters)
            rivals.append(Rival(model.name, missed, len(model.parameters)))
        except InputError as trouble:
            first_trouble = first_trouble or trouble
            rivals.append(Rival(model.name, math.inf, len(model.parameters), str(trouble)))
    if not fitted:
        assert first_trouble is not None
        raise first_trouble
    rivals.sort(key=lambda rival: (rival.name not in fitted, rival.held_back_error))
    best = rivals[0].held_back_error
    chosen = min((r for r in rivals if r.name in fitted and r.held_back_error <= best * TIE), key=lambda r: r.parameters)
    return _finish(*fitted[chosen.name], points, chosen, tuple(rivals), relative, level)


def held_back_error(model: Model, points: Points, relative: bool = False, near: Floats | None = None) -> float:
    """Root mean square of the errors at points that the model was not fitted to; inf if it cannot do without them.

    `near`: where searches start, the parameters fitted to all points; it only saves time.
    """
    squares: list[float] = []
    for train, test in _folds(points, len(model.parameters)):
        try:
            parameters, _ = regress.solve(model, points.only(train), relative, near)
        except InputError:
            return math.inf
        held = points.only(test)
        misses = (model.curve(held.load, parameters) - held.value) / regress.weights_of(held, relative)
        squares.extend(float(miss) ** 2 for miss in misses)
    return math.sqrt(sum(squares) / len(squares)) if squares else math.inf


def usl_peak(fitted: Fit) -> tuple[Estimate, Estimate]:
    """Of a fitted `usl`: the load at which throughput is largest, and that throughput; high ends may be inf (no peak)."""
    if fitted.model is not known.USL:
        raise InputError(f"{fitted.model.name} has no peak: fit the universal scalability law")
    # beta / (1 - alpha) behaves also where beta is 0 and the peak infinitely far away
    bend = fitted.derive(lambda p: float(p[1] / max(1 - p[0], 1e-12)))
    load, low, high = (1 / math.sqrt(x) if x > 0 else math.inf for x in (bend.value, bend.high, bend.low))
    alpha, beta, gamma = fitted.regression.parameters
    throughput = usl.peak(alpha, beta, gamma).throughput_per_s
    if fitted.parameters["beta"].low > 0:
        most = fitted.derive(lambda p: usl.peak(*p).throughput_per_s)
    else:  # between the most coherency that is likely, the rest fitted to it, and none
        bent, _ = regress.solve(_with_beta(fitted.parameters["beta"].high), fitted.points, fitted.relative)
        most = Estimate(throughput, usl.peak(bent[0], fitted.parameters["beta"].high, bent[1]).throughput_per_s, math.inf)
    return Estimate(load, low, high, fitted.level), Estimate(throughput, max(0.0, most.low), most.high, fitted.level)


def _with_beta(beta: float) -> Model:
    """The scalability law with its coherency given."""
    amdahl = known.AMDAHL
    return replace(amdahl, name="usl", curve=lambda loads, p: usl.curve(loads, p[0], beta, p[1]))


def _significant(model: Model, points: Points, found: regress.Regression) -> regress.Regression:
    if found.adjusted_r_squared < SIGNAL_MIN:
        raise InputError(
            f"{points.where}noise is larger than signal for {model.name}: it explains {max(0.0, found.adjusted_r_squared):.0%}"
            f" of the variation of {points.value_name}, and points scatter by {found.residual_standard_error:.3g} around it;"
            f" measure each load longer or more often, and loads beyond {points.load.min():g} to {points.load.max():g}, up to"
            " saturation"
        )
    return found


def _folds(points: Points, unknown: int) -> Iterator[tuple[list[int], list[int]]]:
    """Rows to fit to, and rows to judge by."""
    if points.ordered:
        first = max(unknown + 1, len(points) // 2)
        origins = sorted({first + (len(points) - first) * part // PLANNER_FOLDS_MAX for part in range(PLANNER_FOLDS_MAX)})
        for origin, end in zip(origins, [*origins[1:], len(points)], strict=True):
            if origin < end:
                yield list(range(origin)), list(range(origin, end))
        return
    loads = np.unique(points.load)
    parts = min(PLANNER_FOLDS_MAX, loads.size)
    turn = np.searchsorted(loads, points.load) % parts
    for part in range(parts):
        train = np.flatnonzero(turn != part).tolist()
        if np.unique(points.load[train]).size >= unknown:
            yield train, np.flatnonzero(turn == part).tolist()


def _finish(
    model: Model,
    found: regress.Regression,
    points: Points,
    chosen: Rival,
    rivals: tuple[Rival, ...],
    relative: bool,
    level: float,
) -> Fit:
    errors = np.sqrt(np.diag(found.covariance))
    reach = regress.margin(level, found.degrees_of_freedom) * errors
    parameters = {}
    for name, value, width, low, high in zip(
        model.parameters, found.parameters, reach, model.low, model.high(points), strict=True
    ):
        parameters[name] = Estimate(float(value), max(low, float(value - width)), min(high, float(value + width)), level)
    return Fit(
        model=model,
        points=points,
        parameters=parameters,
        standard_errors=dict(zip(model.parameters, (float(error) for error in errors), strict=True)),
        r_squared=found.r_squared,
        residual_standard_error=found.residual_standard_error,
        held_back_error=chosen.held_back_error,
        rivals=rivals,
        words=_explain(model, found, points, chosen, rivals, relative),
        level=level,
        relative=relative,
        regression=found,
    )


def _explain(
    model: Model, found: regress.Regression, points: Points, chosen: Rival, rivals: tuple[Rival, ...], relative: bool
) -> str:
    """Why this model, in words."""

    def size(error: float) -> str:
        return f"{error:.1%}" if relative else f"{error:.4g}"

    others = [rival for rival in rivals if rival.name != chosen.name]
    way = "each was predicted from those before it" if points.ordered else "some were held back and predicted from the others"
    sentences = [f"{model.name} is {model.words}."]
    if math.isfinite(chosen.held_back_error):
        sentences.append(
            f"It was fitted to {len(points)} points; when {way}, it missed by {size(chosen.held_back_error)} (root mean square)."
        )
    for rival in others:
        if rival.trouble:
            sentences.append(f"{rival.name} could not be fitted: {rival.trouble.split(';')[0]}.")
        elif rival.held_back_error < chosen.held_back_error:
            sentences.append(f"{rival.name} missed by {size(rival.held_back_error)}, no less to speak of, with more parameters.")
        else:
            sentences.append(f"{rival.name} missed by {size(rival.held_back_error)}.")
    sentences.append(
        f"It explains {found.r_squared:.1%} of the variation, points scatter by {size(found.residual_standard_error)} around it,"
        f" and it holds up to {RANGE_FACTOR:g} times the largest measured {points.load_name}, {points.load.max():g}."
    )
    end = model.ends(found.parameters)
    if math.isfinite(end):
        sentences.append(f"It saturates at {end:.4g}.")
    return " ".join(sentences)
