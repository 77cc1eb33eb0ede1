"""What a run of a farm showed. Latencies are in mean service times of a server of speed 1, and come with their intervals."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from loggos.base.errors import InputError
from loggos.des.statistics import CONFIDENCE, SECTIONS, Estimate, mean, over_runs, quantile, quantile_of, sectioned

QUANTILES = (0.5, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Result:
    """One run, after its warm-up.

    latencies    of the requests that were answered well, in the order of their arrival
    arrived_s    when each of these arrived, in seconds of the run
    utilisation  by server: the part of the time, from the end of the warm-up to the last arrival, in which a worker was busy
    sent         by server: requests it was sent
    failed       requests refused, lost or given up
    unanswered   requests still waiting when nothing moved any more (their server never came back; warm-up included)
    probes       asked by all balancers (warm-up included)
    events       of the kernel
    """

    latencies: array[float]
    arrived_s: array[float]
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

    def during(self, from_s: float, until_s: float) -> array[float]:
        """The latencies of the requests that arrived in [from_s, until_s): before, during or after a failure, say."""
        return self.latencies[bisect_left(self.arrived_s, from_s) : bisect_left(self.arrived_s, until_s)]

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


def answered(
    arrived_s: array[float], latencies_s: array[float], warm_up: int, unit_s: float
) -> tuple[array[float], array[float]]:
    """Arrivals in seconds and latencies in units of `unit_s`, of those after the warm-up whose latency is a number."""
    kept = [place for place in range(warm_up, len(latencies_s)) if not math.isnan(latencies_s[place])]
    return array("d", [arrived_s[place] for place in kept]), array("d", [latencies_s[place] / unit_s for place in kept])
