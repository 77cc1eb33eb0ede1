"""The scheduler: events in, a plan out. One `step` is one round; round.py says how a round goes.

Rules:
- Deterministic: the same queues, policy, events and times give equal plans.
- A plan is carried out on the scheduler's own fleet as it is made: what it decided is so. Whoever enacts it reports what
  became of it as events of the next round.
- Time is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loggos.base.errors import ConfigError, InputError
from loggos.base.limits import FLEET_EVICTIONS_PER_ROUND_MAX, FLEET_MOVES_PER_ROUND_MAX
from loggos.fleet.scheduler import scores
from loggos.fleet.scheduler.candidates import Candidates
from loggos.fleet.scheduler.events import Event, JobSubmitted
from loggos.fleet.scheduler.explain import why_pending, why_quota
from loggos.fleet.scheduler.fleet import Fleet
from loggos.fleet.scheduler.plan import Plan, Why
from loggos.fleet.scheduler.rebalance import rebalance
from loggos.fleet.scheduler.round import Memory, Round
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.topology import Topology
from loggos.fleet.scheduler.values import Job, Queue


@dataclass(frozen=True, slots=True)
class Policy:
    """How it decides. `score`: one of scores.NAMES. `workload`: jobs whose tasks stand for those to come, for the scores that
    know the workload; without it they learn from what is submitted."""

    score: str = "best_fit"
    preempt: bool = True
    backfill: bool = True
    explain: bool = True
    runners_up: int = 2
    evictions_max: int = FLEET_EVICTIONS_PER_ROUND_MAX
    workload: tuple[Job, ...] = ()

    def __post_init__(self) -> None:
        if self.score not in scores.NAMES:
            raise ConfigError(f"no score {self.score}: there are {', '.join(scores.NAMES)}")
        if self.runners_up < 0 or self.evictions_max < 0:
            raise ConfigError("runners_up and evictions_max are 0 or more")


class Scheduler:
    """Decides for one fleet."""

    def __init__(self, policy: Policy | None = None, queues: Sequence[Queue] = ()) -> None:
        self.policy = policy or Policy()
        self.fleet = Fleet(queues)
        self.topology = Topology(self.fleet)
        self.now_s = float("-inf")
        self._memory = Memory(self.fleet)
        self._weights: dict[Shape, int] = {}
        self._learnt_at = 0
        for job in self.policy.workload:
            self._learn(job)
        self.score = scores.make(self.policy.score, self._classes())

    def step(self, happened: Iterable[Event], now_s: float) -> Plan:
        """Let these things happen, then decide. InputError: an event that cannot be, or a time before the last one's; the
        events before the bad one have happened."""
        if now_s < self.now_s:
            raise InputError(f"a step at {now_s} s after one at {self.now_s} s: time does not go back")
        self.now_s = now_s
        for event in happened:
            self.fleet.apply(event)
            if isinstance(event, JobSubmitted) and not self.policy.workload:
                self._learn(event.job)
        self._relearn()
        return Round(self.fleet, self.topology, self.policy, self.score, self._memory, now_s).run()

    def rebalance(self, now_s: float, moves_max: int = FLEET_MOVES_PER_ROUND_MAX, gain_min: float = 1e-6) -> Plan:
        """Moves that empty closed nodes and lower the score's potential (for scores without one: spread the load); at most
        `moves_max` of them, each worth `gain_min`, none that a job's `disruptions` forbids. Repeated, it comes to an end."""
        score = self.score if isinstance(self.score, scores.Potential) else scores.make("spread", ())
        assert isinstance(score, scores.Potential)
        return Plan(tuple(rebalance(self.fleet, self.topology, score, now_s, moves_max, gain_min)))

    def why_pending(self, job: str) -> Why | None:
        """Why the job's next task does not start; None if none of its tasks waits. InputError: no such job."""
        state = self.fleet.job(job)
        if not state.pending:
            return None
        over = self.fleet.queues.over_limit(state.job.queue, state.shape, state.wanted())
        return why_quota(state, over) if over else why_pending(self.fleet, self.topology, state, self._memory.promise)

    def candidates(self, shape: Shape) -> Candidates:
        """The places for tasks of this shape."""
        return self._memory.candidates(shape, self.score)

    def _learn(self, job: Job) -> None:
        shape = self.fleet.shape(job.request, job.constraints, job.tolerates)
        self._weights[shape] = self._weights.get(shape, 0) + job.count

    def _relearn(self) -> None:
        """The workload is looked at again when twice as many tasks have come as the last time."""
        if self.policy.score in scores.KNOWING and not self.policy.workload and self.fleet.tasks_seen >= 2 * self._learnt_at:
            self._learnt_at = max(1, self.fleet.tasks_seen)
            self.score = scores.make(self.policy.score, self._classes())
            self._memory.forget_candidates()

    def _classes(self) -> list[scores.Class]:
        return [scores.Class(shape, count) for shape, count in self._weights.items()]
