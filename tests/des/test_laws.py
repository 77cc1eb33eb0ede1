"""Laws have the moments they promise, and refuse what is none."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from loggos.base.errors import InputError
from loggos.des import laws
from loggos.des.laws import Law
from loggos.des.statistics import sectioned

LAWS = [
    laws.exponential(2.0),
    laws.erlang(2.0, 1),
    laws.erlang(2.0, 4),
    laws.hyperexponential(2.0, 4.0),
    laws.gamma(2.0, 0.3),
    laws.gamma(2.0, 2.0),
    laws.lognormal(2.0, 2.0),
    laws.bounded_pareto(0.5, 100.0, 1.5),
    laws.bounded_pareto(0.5, 100.0, 1.0),
    laws.bounded_pareto(0.5, 100.0, 2.0),
    laws.recorded([0.0, 1.0, 1.0, 6.0]),
    laws.fitted(2.0, 0.5),
    laws.fitted(2.0, 1.0),
    laws.fitted(2.0, 3.0),
]


@pytest.mark.parametrize("law", LAWS, ids=[f"{law.name} {law.cv2:.3g}" for law in LAWS])
def test_a_law_has_its_mean_and_its_variance(law: Law) -> None:
    draw = law.sampler(random.Random("moments"))
    values = [draw() for _ in range(40_000)]
    mean = sectioned(values, confidence=0.999)
    squares = sectioned([value * value for value in values], confidence=0.999)
    assert min(values) >= 0.0
    assert mean.low <= law.mean_s <= mean.high and mean.half_width < 0.12 * law.mean_s
    assert squares.low <= (law.cv2 + 1.0) * law.mean_s**2 <= squares.high


@pytest.mark.parametrize(
    ("law", "reference"),
    [
        (laws.exponential(2.0), stats.expon(scale=2.0)),
        (laws.erlang(2.0, 3), stats.gamma(3, scale=2.0 / 3)),
        (laws.gamma(2.0, 0.4), stats.gamma(2.5, scale=0.8)),
        (laws.gamma(2.0, 4.0), stats.gamma(0.25, scale=8.0)),
        (laws.lognormal(2.0, 2.0), stats.lognorm(math.sqrt(math.log(3.0)), scale=2.0 / math.sqrt(3.0))),
        (laws.bounded_pareto(0.5, 100.0, 1.5), stats.truncpareto(1.5, 200.0, scale=0.5)),
    ],
    ids=lambda value: value.name if isinstance(value, Law) else "",
)
def test_a_law_has_its_shape(law: Law, reference: stats.rv_continuous) -> None:
    draw = law.sampler(random.Random("shape"))
    values = np.array([draw() for _ in range(20_000)])
    assert stats.kstest(values, reference.cdf).pvalue > 0.001
    assert stats.kstest(values * 1.2, reference.cdf).pvalue < 0.001, "the test would not see a difference of 20 %"


def test_a_deterministic_law_is_always_the_same() -> None:
    draw = laws.fitted(2.0, 0.0).sampler(random.Random(1))
    assert [draw() for _ in range(3)] == [2.0, 2.0, 2.0]


def test_the_bounds_of_a_bounded_pareto_hold() -> None:
    draw = laws.bounded_pareto(0.5, 3.0, 1.1).sampler(random.Random(1))
    values = [draw() for _ in range(10_000)]
    assert 0.5 <= min(values) < 0.51 and 2.8 < max(values) <= 3.0


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: laws.exponential(0.0), "mean 0.0"),
        (lambda: laws.exponential(math.nan), "mean nan"),
        (lambda: laws.erlang(1.0, 0), "0 phases"),
        (lambda: laws.erlang(1.0, 1000), "1000 phases"),
        (lambda: laws.hyperexponential(1.0, 0.5), "at least 1"),
        (lambda: laws.gamma(1.0, -1.0), "cv² -1.0"),
        (lambda: laws.lognormal(math.inf, 1.0), "mean inf"),
        (lambda: laws.bounded_pareto(2.0, 1.0, 1.0), "upper bound"),
        (lambda: laws.recorded([]), "at least one"),
        (lambda: laws.recorded([1.0, -2.0]), "-2.0 at place 1"),
        (lambda: laws.recorded([0.0, 0.0]), "all recorded durations are 0"),
        (lambda: laws.fitted(1.0, math.nan), "cv² nan"),
    ],
)
def test_what_is_no_law_is_refused(make: Callable[[], Law], what: str) -> None:
    with pytest.raises(InputError, match=what):
        make()
