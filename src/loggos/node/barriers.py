"""Read barriers of one node: callers of a loop turn share one context, and each caller is answered once.

    waiting (no leader yet) → asked (with the engine) → granted at a slot → met (that slot is applied here) → done(index)

A deadline ends any of them with done(None). Pure bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loggos.base.ids import Index, Slot

Done = Callable[[Index | None], None]


@dataclass(slots=True)
class _Round:
    deadline: float
    callers: list[Done]
    slot: int = -1  # granted at


class Barriers:
    def __init__(self, timeout_s: float, first_context: int = 0) -> None:
        """`first_context` must differ between lives of a node whose questions outlive it: a late answer to an earlier life proves
        nothing to this one."""
        self._timeout_s = timeout_s
        self._next = first_context
        self._gathering: list[Done] = []
        self._gathering_since = 0.0
        self._asked: dict[int, _Round] = {}
        self._granted: list[_Round] = []

    def add(self, done: Done, now: float) -> None:
        if not self._gathering:
            self._gathering_since = now
        self._gathering.append(done)

    @property
    def has_waiting(self) -> bool:
        return bool(self._gathering)

    def start(self) -> int:
        """Everything that waits becomes one round, with the deadline of the oldest of it; its context for the engine."""
        self._next += 1
        self._asked[self._next] = _Round(self._gathering_since + self._timeout_s, self._gathering)
        self._gathering = []
        return self._next

    def granted(self, context: int, slot: Slot) -> None:
        """The engine's answer; a negative slot is a refusal, and its callers ask again until their deadline."""
        found = self._asked.pop(context, None)
        if found is None:
            return
        if slot < 0:
            since = found.deadline - self._timeout_s
            self._gathering_since = min(since, self._gathering_since) if self._gathering else since
            self._gathering = found.callers + self._gathering
            return
        found.slot = slot
        self._granted.append(found)

    def met(self, applied: Slot, index: Index) -> None:
        """Answer every round whose slot is applied."""
        if self._granted:
            ready = [r for r in self._granted if r.slot <= applied]
            self._granted = [r for r in self._granted if r.slot > applied]
            _answer(ready, index)

    def expire(self, now: float) -> None:
        late = [r for r in (*self._asked.values(), *self._granted) if r.deadline <= now]
        if late:
            self._asked = {context: r for context, r in self._asked.items() if r.deadline > now}
            self._granted = [r for r in self._granted if r.deadline > now]
            _answer(late, None)
        if self._gathering and self._gathering_since + self._timeout_s <= now:
            callers, self._gathering = self._gathering, []
            _answer([_Round(now, callers)], None)

    def fail_all(self) -> None:
        rounds = [*self._asked.values(), *self._granted, _Round(0.0, self._gathering)]
        self._asked, self._granted, self._gathering = {}, [], []
        _answer(rounds, None)


def _answer(rounds: list[_Round], index: Index | None) -> None:
    for each in rounds:
        for done in each.callers:
            done(index)
