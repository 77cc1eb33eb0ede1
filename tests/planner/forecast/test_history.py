"""Every history that cannot be used is refused with the reason and what to do; the rest is made regular and complete."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.forecast.history import history_of
from loggos.planner.observe.findings import Kind, Ledger
from loggos.planner.types import Floats, Series
from tests.planner.forecast.loads import HOUR_S, START_S, hourly, series


def at(times: list[float] | Floats, values: list[float] | Floats) -> Series:
    return Series("load", "1/s", np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64))


UNEVEN = np.concatenate((np.arange(30) * 60.0, 1800.0 + np.arange(30) * 97.0))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (series([1.0, 2.0, 3.0]), r"has 3 point\(s\) with a value; a forecast needs 12"),
        (series([float("nan")] * 50), r"has 0 point\(s\)"),
        (series([5.0] * 100), "is 5 in all 100 points: nothing shows how it varies.*stuck or capped"),
        (series([1.0] * 50 + [-2.0] + [3.0] * 50), "is -2 at 2023-11-16T02:00:00Z; a load is never below 0.*counter_rate"),
        (at(UNEVEN, np.arange(60.0)), r"unevenly sampled.*observe.clean.regular"),
        (at(np.r_[0.0:50.0, 49.0:60.0], np.arange(61.0)), "times do not increase after 49 s.*series_of"),
        (at(np.r_[0.0:30.0, 1e6:1000030.0], np.arange(60.0)), "spans 1,000,030 steps of 1 s; resample"),
        (at(np.r_[0.0:30.0, 70.0:100.0], np.arange(60.0)), "40 of 100 steps have no value; take a coarser step"),
    ],
)
def test_what_cannot_be_used_says_why_and_what_to_do(bad: Series, says: str) -> None:
    with pytest.raises(InputError, match=says):
        history_of(bad, Ledger())


def test_negative_values_may_be_allowed() -> None:
    assert history_of(series(np.arange(-20.0, 20.0)), Ledger(), allow_negative=True).values[0] == -20.0


def test_jitter_is_no_unevenness() -> None:
    jitter = np.random.default_rng(1).uniform(-0.1, 0.1, 400) * 60.0
    history = history_of(at(START_S + 60.003 * np.arange(400) + jitter, np.arange(400.0)), Ledger())
    assert history.step_s == pytest.approx(60.003, rel=1e-3) and history.values.tolist() == list(range(400))


def test_holes_are_filled_from_the_same_hour_and_said() -> None:
    values = hourly(1, 28 * 24, noise=0.0)
    holes = values.copy()
    holes[200:212] = np.nan
    ledger = Ledger()
    history = history_of(series(holes), ledger)
    assert np.allclose(history.values, values) and (~history.measured).sum() == 12
    [filled] = ledger.findings()
    assert filled.kind is Kind.FILLED and "12 of 672 steps" in filled.what


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=40))
def test_hostile_series_are_taken_or_refused(points: list[tuple[float, float]]) -> None:
    with np.errstate(all="ignore"):
        try:
            history = history_of(at([p[0] for p in points], [p[1] for p in points]), Ledger())
        except InputError as error:
            assert str(error)
            return
    assert np.isfinite(history.values).all() and len(history.values) >= 12


def test_times_of_the_future_follow_the_grid() -> None:
    history = history_of(series(np.arange(48.0)), Ledger())
    assert history.time_s(48) == START_S + 48 * HOUR_S
