"""Affinity, anti-affinity and spread: what a job demands of where other tasks are.

Rules:
- Anti-affinity holds both ways: whoever wants to be far from a job is not joined by it later either.
- A node without the label is in no domain: nothing can be near it, or spread over it.
- Spread compares with the emptiest domain among those that the job's shape may use, full ones too.
"""

from __future__ import annotations

from collections.abc import Sequence

from loggos.fleet.scheduler.bins import Bin, Devices
from loggos.fleet.scheduler.candidates import Accept
from loggos.fleet.scheduler.fleet import Fleet, JobState, domain
from loggos.fleet.scheduler.values import Affinity, Spread

Rule = Affinity | Spread


class Topology:
    """Answers for one fleet; it remembers which domains a shape may use until nodes come or go."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._domains: dict[tuple[int, str], tuple[int, Sequence[str]]] = {}

    def rules(self, state: JobState) -> list[Rule]:
        """What is demanded of this job's places, by itself and by others."""
        return [*state.job.affinity, *state.job.spread, *self.fleet.averse.get(state.job.name, ())]

    def accept(self, state: JobState) -> Accept | None:
        """The test of a place for the job's next task, true until something is placed; None if nothing is demanded."""
        rules = self.rules(state)
        if not rules:
            return None
        floors = {rule: self._floor(state, rule) for rule in state.job.spread}

        def accepted(bin_: Bin, devices: Devices) -> bool:
            return all(self._holds(state, rule, bin_, floors) for rule in rules)

        return accepted

    def broken(self, state: JobState, bin_: Bin) -> list[str]:
        """The rules that forbid the job's next task on this node, in words."""
        floors = {rule: self._floor(state, rule) for rule in state.job.spread}
        return [words(rule) for rule in self.rules(state) if not self._holds(state, rule, bin_, floors)]

    def _holds(self, state: JobState, rule: Rule, bin_: Bin, floors: dict[Spread, int]) -> bool:
        where = domain(bin_, rule.key)
        if isinstance(rule, Spread):
            return where is not None and state.tally(rule.key).get(where, 0) + 1 - floors[rule] <= rule.skew
        other = self.fleet.jobs.get(rule.job)
        there = other is not None and where is not None and other.tally(rule.key).get(where, 0) > 0
        if not rule.near:
            return not there
        first_of_its_own = rule.job == state.job.name and not state.running
        return there or (first_of_its_own and where is not None)

    def _floor(self, state: JobState, rule: Spread) -> int:
        """How many of the job's tasks are in the emptiest domain that it may use."""
        counts = state.tally(rule.key)
        return min((counts.get(name, 0) for name in self._usable(state, rule.key)), default=0)

    def _usable(self, state: JobState, key: str) -> Sequence[str]:
        place = (state.shape.number, key)
        seen, domains = self._domains.get(place, (-1, ()))
        if seen != self.fleet.nodes_seen:
            usable = [domain(bin_, key) for bin_ in self.fleet.present() if state.shape.may_use(bin_.node)]
            domains = list(dict.fromkeys(name for name in usable if name is not None))
            self._domains[place] = (self.fleet.nodes_seen, domains)
        return domains


def words(rule: Rule) -> str:
    over = rule.key or "node"
    if isinstance(rule, Spread):
        return f"spread over {over} with skew {rule.skew}"
    return f"{'near' if rule.near else 'far from'} {rule.job} by {over}"
