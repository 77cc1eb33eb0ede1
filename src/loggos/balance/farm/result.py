"""What a run of a farm showed. Latencies are in mean service times of a server of speed 1, and come with their intervals."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from loggos.base.errors import InputError
from loggos.des.statistics import CONFIDENCE, SECTIONS, Estimate, mean, over_runs, quantile, quantile_of, sectioned

QUANTILES = (0.5, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Result:
    """One run, after its warm-up.

    latencies    of the requests that were answered well, in the order of their arrival
    utilisation  by server: the part of the time, from the end of the warm-up to the last arrival, in which a worker was busy
    sent         by server: requests it was sent
    failed       requests refused, lost or given up
    unanswered   requests still waiting when nothing moved any more (their server never came back)
    probes       asked by all balancers, the warm-up included
    events       of the kernel
    """

    latencies: array[float]
    utilisation: tuple[float, ...]
    sent: tuple[int, ...]
    failed: int
    unanswered: int
    probes: int
    events: int

    @property
    def mean(self) -> Estimate:
        """The mean latency, with its interval."""
        return sectioned(self._answered())

    def quantile(self, share: float) -> Estimate:
        """A quantile of the latency, with its interval. The parts from which it is known are long enough to hold it."""
        values = self._answered()
        sections = max(2, min(SECTIONS, int(len(values) * (1.0 - share) / 10)))
        return sectioned(values, quantile_of(share), sections=sections)

    def row(self) -> tuple[float, float, float, float]:
        """Mean, p50, p99 and p99.9 without their intervals: of one run among several (`summary`)."""
        values = sorted(self._answered())
        return mean(values), quantile(values, 0.5), quantile(values, 0.99), quantile(values, 0.999)

    def _answered(self) -> array[float]:
        if len(self.latencies) < 4:
            raise InputError(
                f"{len(self.latencies)} requests were answered: too few to say anything of their latency; run longer"
            )
        return self.latencies


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean, p50, p99 and p99.9 of the latency over independent runs."""

    mean: Estimate
    p50: Estimate
    p99: Estimate
    p999: Estimate

    def __str__(self) -> str:
        return "/".join(f"{estimate.value:.3g}" for estimate in (self.mean, self.p50, self.p99, self.p999))


def summary(results: Sequence[Result], confidence: float = CONFIDENCE) -> Summary:
    """What several runs with streams of their own agree on. Raises InputError for fewer than two."""
    columns = zip(*(result.row() for result in results), strict=True)
    estimates = [over_runs(column, confidence) for column in columns]
    return Summary(*estimates) if estimates else Summary(*(over_runs(()),) * 4)


def answered(latencies: array[float], unit_s: float) -> array[float]:
    """Those that are numbers, in units of `unit_s`."""
    return array("d", [latency_s / unit_s for latency_s in latencies if not math.isnan(latency_s)])
