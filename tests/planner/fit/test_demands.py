"""Demands of several classes from utilisation: found again within their intervals, refused where nothing tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from loggos.base.errors import InputError
from loggos.planner.fit.demands import Demands, fit_demands
from loggos.planner.types import Floats

TRUTH = {"read": 0.002, "write": 0.010}


def measured(seed: int, spread: float = 0.005, intervals: int = 40, background: float = 0.03) -> tuple[dict[str, Floats], Floats]:
    chance = np.random.default_rng(seed)
    rates = {"read": chance.uniform(50, 400, intervals), "write": chance.uniform(10, 120, intervals)}
    busy = background + sum(rates[name] * TRUTH[name] for name in TRUTH) + chance.normal(0, spread, intervals)
    return rates, np.clip(busy / 4, 0, 1)


def found(seed: int) -> Demands:
    return fit_demands(*measured(seed), servers=4)


def test_demands_lie_within_their_intervals_as_often_as_these_say() -> None:
    fits = [found(seed) for seed in range(60)]
    for name, truth in TRUTH.items():
        held = sum(one.demands_s[name].low <= truth <= one.demands_s[name].high for one in fits)
        assert held > 51, (name, held)
    assert sum(one.background.low <= 0.03 <= one.background.high for one in fits) > 51


def test_utilisation_is_predicted_within_what_was_measured() -> None:
    one = found(1)
    expected = (0.03 + 300 * 0.002 + 100 * 0.010) / 4
    predicted = one.predict({"read": 300, "write": 100})
    assert predicted.low < expected < predicted.high
    assert one.predict({"read": 0, "write": 0}).value == pytest.approx(one.background.value / 4)
    with pytest.raises(InputError, match=r"write at 900 a second is out of range: measured up to .*; measure at 450 or more"):
        one.predict({"read": 300, "write": 900})
    assert one.predict({"read": 300, "write": 900}, force=True).value > 2
    with pytest.raises(InputError, match="throughput of write is missing: give one for each of read, write"):
        one.predict({"read": 300})
    with pytest.raises(InputError, match="scan is no class of this fit: it knows read, write"):
        one.predict({"read": 1, "write": 1, "scan": 1})


def test_a_demand_is_never_negative() -> None:
    rates, busy = measured(3, spread=0.0)
    rates["idle"] = np.random.default_rng(9).uniform(1, 2, busy.size)
    one = fit_demands(rates, np.clip(busy - rates["idle"] * 0.001, 0, 1), servers=4)
    assert one.demands_s["idle"].value == one.demands_s["idle"].low == 0.0


def test_what_tells_nothing_is_refused() -> None:
    rates, busy = measured(4)
    with pytest.raises(InputError, match="read and again cannot be told apart, they rise and fall together: measure"):
        fit_demands({**rates, "again": rates["read"] * 2}, busy, servers=4)
    with pytest.raises(InputError, match="read has no throughput in any interval"):
        fit_demands({"read": np.zeros(40)}, busy)
    with pytest.raises(InputError, match="the background and read cannot be told apart"):
        fit_demands({"read": np.full(40, 7.0)}, busy)
    with pytest.raises(InputError, match="3 intervals are too few for 2 classes: measure 4 or more"):
        fit_demands({name: rate[:3] for name, rate in rates.items()}, busy[:3])
    with pytest.raises(InputError, match="noise is larger than signal"):
        fit_demands({"read": rates["read"]}, np.random.default_rng(0).uniform(0, 1, 40))
    with pytest.raises(InputError, match="give shares of time, 0 to 1, not per cent"):
        fit_demands({"read": rates["read"]}, busy * 100)
    with pytest.raises(InputError, match="read has 39 values and utilisation 40"):
        fit_demands({"read": rates["read"][1:]}, busy)
    with pytest.raises(InputError, match="utilisation, number 1, is -1"):
        fit_demands({"read": rates["read"][:5]}, np.array([-1.0, 0, 0, 0, 0]))
