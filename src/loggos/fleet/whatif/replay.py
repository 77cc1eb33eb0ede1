"""A trace under one policy: what was packed, what failed, and how full the fleet was on the way.

Two ways. Without departures, pods come in the order of the trace and stay: one that does not fit when it comes has failed.
That fills the fleet as far as the policy can, and is how packing is compared. With departures, pods come at their creation
times and run as long as they did; one that does not fit waits, and what is measured is waiting and use over time.

The scores that know the workload are given the trace's own distribution of task classes (not its order), as from a history of the
same users; `foresight=False` lets them learn it on the way.
Measures: Weng et al., USENIX ATC 2023, section 3 (fragmentation) and section 6 (unallocated GPUs).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, NamedTuple

from loggos.fleet.scheduler import scores
from loggos.fleet.scheduler.events import Event, JobSubmitted, JobWithdrawn, NodeJoined, TaskEnded
from loggos.fleet.scheduler.fleet import Fleet
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import DEVICE_MILLI, GPU, TaskId
from loggos.fleet.whatif.trace import Trace

SAMPLES: Final = 120  # points of a plot: about one for seven of its pixels


class Sample(NamedTuple):
    """The fleet at one moment. `at`: seconds, or without departures pods that have come. Parts are of the whole fleet."""

    at: float
    gpu: float
    cpu: float
    memory: float
    fragmented: float  # GPU share that is free and of no use to a task of the workload, on average
    waiting: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of a trace. GPUs are counted whole, in parts where they are shared. `failed`: pods that never started;
    waits are of those that did."""

    policy: str
    departures: bool
    pods: int
    gpus: int
    gpus_asked: float
    gpus_allocated: float  # without departures at the end; with them the mean over time
    failed: int
    fragmented_gpus: float  # the same
    cpu: float
    memory: float
    gpus_peak: float = 0.0
    waited: int = 0
    wait_mean_s: float = 0.0
    wait_max_s: float = 0.0
    samples: tuple[Sample, ...] = field(default=(), repr=False)

    @property
    def gpus_unallocated(self) -> float:
        return self.gpus - self.gpus_allocated


class Gauge:
    """Looks at a fleet: how much of it is used, and how much of the rest is fragmented."""

    def __init__(self, fleet: Fleet, workload: Sequence[scores.Class]) -> None:
        self.fleet = fleet
        self.measure = scores.FragmentationGradient(workload)

    def part(self, resource: str) -> float:
        capacity = self.fleet.queues.capacity.get(resource, 0)
        used = sum(share.used.get(resource, 0) for share in self.fleet.queues.tops)
        return used / capacity if capacity else 0.0

    def look(self, at: float) -> Sample:
        capacity = self.fleet.queues.capacity.get(GPU, 0)
        fragments = sum(self.measure.fragments_milli(bin_) for bin_ in self.fleet.present())
        fragmented = fragments / capacity if capacity else 0.0
        waiting = sum(len(state.pending) for state in self.fleet.waiting.values())
        return Sample(at, self.part(GPU), self.part("cpu_milli"), self.part("memory_mib"), fragmented, waiting)


def replay(trace: Trace, score: str, departures: bool = False, foresight: bool = True) -> Outcome:
    """The trace under this score. ConfigError: no such score."""
    workload = tuple(pod.job for pod in trace.pods) if foresight else ()
    policy = Policy(score, preempt=False, backfill=departures, explain=False, runners_up=0, workload=workload)
    scheduler = Scheduler(policy)
    classes: dict[object, scores.Class] = {}
    for pod in trace.pods:
        shape = scheduler.fleet.shape(pod.job.request, pod.job.constraints, pod.job.tolerates)
        classes[shape] = scores.Class(shape, classes[shape].weight + 1 if shape in classes else 1)
    gauge = Gauge(scheduler.fleet, list(classes.values()))
    start_s = min(pod.created_s for pod in trace.pods)
    scheduler.step([NodeJoined(node) for node in trace.nodes], start_s)
    return _with_departures(trace, scheduler, gauge) if departures else _one_pass(trace, scheduler, gauge)


def _one_pass(trace: Trace, scheduler: Scheduler, gauge: Gauge) -> Outcome:
    failed = 0
    samples = [gauge.look(0)]
    every = max(1, len(trace.pods) // SAMPLES)
    happened: list[Event] = []
    for number, pod in enumerate(trace.pods, 1):
        plan = scheduler.step([*happened, JobSubmitted(pod.job)], max(scheduler.now_s, pod.created_s))
        happened = [JobWithdrawn(pending.job) for pending in plan.pending]
        failed += len(plan.pending)
        if number % every == 0 or number == len(trace.pods):
            samples.append(gauge.look(number))
    last = samples[-1]
    return _outcome(trace, scheduler, False, failed, last, samples)


def _with_departures(trace: Trace, scheduler: Scheduler, gauge: Gauge) -> Outcome:
    """Every moment at which something happens is one step: ends first, then arrivals."""
    arrivals = sorted(range(len(trace.pods)), key=lambda number: (trace.pods[number].created_s, number))
    numbers = {pod.job.name: number for number, pod in enumerate(trace.pods)}
    ends: list[tuple[float, int]] = []
    waits: list[float] = []
    samples = [gauge.look(scheduler.now_s)]
    first_s, last_s = samples[0].at, trace.pods[arrivals[-1]].created_s
    come, peak = 0, 0.0
    while come < len(arrivals) or ends:
        next_s = trace.pods[arrivals[come]].created_s if come < len(arrivals) else ends[0][0]
        now_s = min(next_s, ends[0][0]) if ends else next_s
        happened: list[Event] = []
        while ends and ends[0][0] <= now_s:
            happened.append(TaskEnded(TaskId(trace.pods[heapq.heappop(ends)[1]].job.name, 0)))
        while come < len(arrivals) and trace.pods[arrivals[come]].created_s <= now_s:
            happened.append(JobSubmitted(trace.pods[arrivals[come]].job))
            come += 1
        for placed in scheduler.step(happened, now_s).placed:
            pod = trace.pods[numbers[placed.task.job]]
            waits.append(now_s - pod.created_s)
            if pod.runtime_s is not None:
                heapq.heappush(ends, (now_s + pod.runtime_s, numbers[placed.task.job]))
        peak = max(peak, gauge.part(GPU))
        if now_s <= last_s and now_s - samples[-1].at >= (last_s - first_s) / SAMPLES:
            samples.append(gauge.look(now_s))
    mean = _mean(samples, last_s)
    waited = [wait for wait in waits if wait > 0]
    outcome = _outcome(trace, scheduler, True, len(trace.pods) - len(waits), mean, samples)
    wait_mean_s = sum(waited) / len(waited) if waited else 0.0
    return replace(
        outcome,
        gpus_peak=peak * outcome.gpus,
        waited=len(waited),
        wait_mean_s=wait_mean_s,
        wait_max_s=max(waited, default=0.0),
    )


def _mean(samples: Sequence[Sample], end_s: float) -> Sample:
    """The mean over time, each sample standing for the time until the next one; the last one if no time passes."""
    times = [*(sample.at for sample in samples), max(end_s, samples[-1].at)]
    spans = [after - at for at, after in pairwise(times)]
    total = sum(spans)
    if not total:
        return samples[-1]
    means = [sum(sample[place] * span for sample, span in zip(samples, spans, strict=True)) / total for place in range(1, 5)]
    return Sample(end_s, means[0], means[1], means[2], means[3], 0)


def _outcome(
    trace: Trace, scheduler: Scheduler, departures: bool, failed: int, summary: Sample, samples: Sequence[Sample]
) -> Outcome:
    gpus = sum(node.gpus for node in trace.nodes)
    asked = sum(pod.job.request.totals().get(GPU, 0) for pod in trace.pods) / DEVICE_MILLI
    return Outcome(
        policy=scheduler.policy.score, departures=departures, pods=len(trace.pods), gpus=gpus, gpus_asked=asked,
        gpus_allocated=summary.gpu * gpus, failed=failed, fragmented_gpus=summary.fragmented * gpus,
        cpu=summary.cpu, memory=summary.memory, gpus_peak=max(sample.gpu for sample in samples) * gpus, samples=tuple(samples),
    )  # fmt: skip
