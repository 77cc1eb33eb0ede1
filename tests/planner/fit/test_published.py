"""Fits of the scalability law to published measurements, to the digits that were printed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loggos.base.errors import InputError
from loggos.planner.fit.fit import Fit, fit, usl_peak
from loggos.planner.fit.models import AMDAHL, LINEAR, POWER, USL
from loggos.planner.fit.points import Points, points
from loggos.planner.fit.regress import margin
from loggos.planner.maths import usl
from tests.planner.maths.test_published import assert_printed, printed

SPECSDM91 = points([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
RAYTRACER = points([1, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64], [20, 78, 130, 170, 190, 200, 210, 230, 260, 280, 310])


def first(number: int, measured: Points = RAYTRACER) -> Points:
    return measured.only(range(number))


def values(fitted: Fit) -> tuple[float, float, float]:
    alpha, beta, gamma = (estimate.value for estimate in fitted.parameters.values())
    return alpha, beta, gamma


def test_specsdm91_parameters_and_standard_errors() -> None:
    fitted = fit(USL, SPECSDM91)
    alpha, beta, gamma = values(fitted)
    assert_printed([alpha, beta * 1e4, gamma], "0.027728 1.0437 89.995")
    errors = fitted.standard_errors
    assert_printed([errors["alpha"], errors["beta"] * 1e5, errors["gamma"]], "0.009122 1.988 14.2")
    assert printed(fitted.residual_standard_error, "82.85")


def test_specsdm91_fitted_values() -> None:
    assert_printed(fit(USL, SPECSDM91).values(SPECSDM91.load), "90 1078 1541 1850 1879 1822 1646")


def test_specsdm91_peak_limit_and_optimum() -> None:
    """The peak is printed at a load of 96.519; with squares at their very least it is at 96.5196."""
    fitted = fit(USL, SPECSDM91)
    alpha, beta, gamma = values(fitted)
    assert_printed([usl.peak(alpha, beta, gamma).throughput_per_s, *usl.optimal(alpha, beta, gamma)], "1883.9 36.064 1542")
    assert printed(usl.limit(alpha, gamma), "3245.6")
    load, throughput = usl_peak(fitted)
    assert abs(load.value - 96.519) < 0.001 and load.low < 96.519 < load.high
    assert printed(throughput.value, "1883.9") and throughput.low < max(SPECSDM91.value) < throughput.high


def test_raytracer_intervals() -> None:
    """The package prints ± 2.015 standard errors, Student's t for 90 % and 5 degrees of freedom. Six points and three parameters
    leave 3: ours at 95 % are wider, ± 3.182."""
    fitted = fit(USL, first(6))
    assert_printed(list(values(fitted)), "0.02444 0.00163 20.856")
    theirs = margin(0.90, 5)
    ends = [
        estimate.value + side * theirs * fitted.standard_errors[name]
        for name, estimate in fitted.parameters.items()
        for side in (-1, 1)
    ]
    assert_printed(ends, "0.00754 0.04135 0.0011 0.00215 19.27 22.44")
    for name, estimate in fitted.parameters.items():
        assert estimate.high - estimate.value == pytest.approx(3.1824 * fitted.standard_errors[name], rel=1e-4)
        assert estimate.low == pytest.approx(max(0.0, 2 * estimate.value - estimate.high))


def test_all_of_raytracer_is_amdahls_law() -> None:
    fitted = fit(USL, RAYTRACER)
    assert fitted.parameters["beta"].value == 0.0
    assert fitted.parameters["beta"].low == 0.0 < fitted.parameters["beta"].high
    amdahl = fit(AMDAHL, RAYTRACER)
    assert values(fitted)[0] == pytest.approx(amdahl.parameters["alpha"].value, rel=1e-6)
    chosen = fit([LINEAR, POWER, AMDAHL, USL], RAYTRACER)
    assert chosen.model is AMDAHL, "fewer parameters, and no worse"
    load, throughput = usl_peak(fitted)
    assert load.value == load.high == throughput.high == math.inf
    assert 40 < load.low < 80 and 250 < throughput.low < 310


@pytest.mark.parametrize(("measured", "error"), [(4, "16.9"), (5, "49.7"), (6, "52.7"), (7, "46.0")])
def test_raytracer_extrapolated_to_64(measured: int, error: str) -> None:
    fitted = fit(USL, first(measured))
    assert printed((1 - fitted.predict(64, force=True).value / 310) * 100, error)


def test_raytracer_up_to_20_refuses_64() -> None:
    fitted = fit(USL, first(6))
    assert fitted.status(64) == "out of range" and fitted.valid_range == (0, 40)
    with pytest.raises(InputError, match="load 64 is out of range: usl was fitted up to 20 and holds up to 40; measure at 32 or"):
        fitted.predict(64)
    assert [fitted.status(load) for load in (0.5, 1, 20, 40, 40.1)] == [
        "extrapolated", "measured", "measured", "extrapolated", "out of range",
    ]  # fmt: skip


def test_toy() -> None:
    measured = points([1, 2, 4, 6, 8, 10], [1, 1.8868, 3.0769, 3.5294, 3.5398, 3.3557])
    assert np.allclose(values(fit(USL, measured)), (0.02, 0.02, 1), atol=1e-5)
