"""Is there an order that explains a history? Wing & Gong's search with Lowe's memory, one key at a time.

Rules: linearizability is a property per object, so a history is first cut by key (Herlihy and Wing's locality;
P-compositionality, Horn and Kroening): many short searches instead of one hopeless one. An operation of unknown outcome may have
taken effect at any time after it was invoked, or never. The search is bounded: beyond `steps_max` the verdict is UNDECIDED, never
a guess. Black box: knows no log. For short histories; the witness check is for all.
Source: Wing and Gong 1993; Lowe, "Testing for linearizability" (2017).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)

STEPS_MAX = 1_000_000  # about 2 s; a legal history of a thousand operations of five clients takes a few thousand


class Verdict(Enum):
    LEGAL = "legal"
    ILLEGAL = "illegal"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Call:
    """One operation on one object. `returned_at` None: its outcome is unknown, `result` means nothing."""

    key: str
    invoked_at: float
    returned_at: float | None
    action: str
    argument: object = None
    result: object = None


class Model(Protocol[S]):
    """One object. `step` gives the state after `call`, or None when its result cannot come from `state`; `check` False: any
    result.
    """

    initial: S

    def step(self, state: S, call: Call, check: bool) -> tuple[S] | None: ...


class Register:
    """read() → value; write(value); cas((old, new)) → whether it was done. Initially `initial`."""

    def __init__(self, initial: Hashable = None) -> None:
        self.initial: Hashable = initial

    def step(self, state: Hashable, call: Call, check: bool) -> tuple[Hashable] | None:
        if call.action == "read":
            return (state,) if not check or call.result == state else None
        if call.action == "write":
            assert isinstance(call.argument, Hashable)
            return (call.argument,)
        assert call.action == "cas" and isinstance(call.argument, tuple), call
        old, new = call.argument
        if check and call.result is not (state == old):
            return None
        return (new,) if state == old else (state,)


class Count:
    """add(n) → the number after it; read() → the number. Initially 0."""

    initial: int = 0

    def step(self, state: int, call: Call, check: bool) -> tuple[int] | None:
        assert call.action in ("add", "read"), call
        after = state + call.argument if isinstance(call.argument, int) and call.action == "add" else state
        return (after,) if not check or call.result == after else None


class Finding(NamedTuple):
    """The verdict on one key; `longest`: how many of its calls the best attempt could put in order."""

    key: str
    verdict: Verdict
    calls: int
    longest: int
    steps: int


class _Event:
    """An invocation or a return, in a doubly linked list. Lifting a call takes both of its events out."""

    __slots__ = ("after", "before", "match", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.match: _Event | None = None  # an invocation's return
        self.before: _Event | None = None
        self.after: _Event | None = None


class _Search(Generic[S]):
    def __init__(self, model: Model[S], calls: Sequence[Call], steps_max: int) -> None:
        self.model, self.calls, self.steps_max = model, calls, steps_max
        self.head = _linked(calls)
        self.required = sum(call.returned_at is not None for call in calls)
        self.steps = 0
        self.longest = 0

    def run(self) -> Verdict:
        state, done, placed = self.model.initial, 0, 0
        stack: list[tuple[_Event, S, bool]] = []
        tried: dict[tuple[int, S], None] = {}
        event = self.head.after
        while placed < self.required:
            self.steps += 1
            if self.steps > self.steps_max:
                return Verdict.UNDECIDED
            if event is not None and event.match is not None:
                call = self.calls[event.number]
                known = call.returned_at is not None
                next_state = self.model.step(state, call, known)
                entry = None if next_state is None else (done | 1 << event.number, next_state[0])
                if entry is not None and entry not in tried:
                    tried[entry] = None
                    stack.append((event, state, known))
                    done, state = entry
                    placed += known
                    self.longest = max(self.longest, placed)
                    _lift(event)
                    event = self.head.after
                else:
                    event = event.after
                continue
            if not stack:  # a call returned before it could be placed, and nothing is left to try
                return Verdict.ILLEGAL
            last, state, known = stack.pop()
            done &= ~(1 << last.number)
            placed -= known
            _unlift(last)
            event = last.after
        return Verdict.LEGAL


def _linked(calls: Sequence[Call]) -> _Event:
    """The events by time; at one time invocations first (such calls overlap). Unknown calls return after everything."""
    marks: list[tuple[float, int, int, _Event]] = []
    for number, call in enumerate(calls):
        invoked, returned = _Event(number), _Event(number)
        invoked.match = returned
        end = float("inf") if call.returned_at is None else call.returned_at
        assert end >= call.invoked_at, call
        marks += [(call.invoked_at, 0, number, invoked), (end, 1, number, returned)]
    head = last = _Event(-1)
    for *_, event in sorted(marks, key=lambda mark: mark[:3]):
        last.after, event.before = event, last
        last = event
    return head


def _lift(invoked: _Event) -> None:
    assert invoked.match is not None
    for event in (invoked, invoked.match):
        assert event.before is not None
        event.before.after = event.after
        if event.after is not None:
            event.after.before = event.before


def _unlift(invoked: _Event) -> None:
    assert invoked.match is not None
    for event in (invoked.match, invoked):
        assert event.before is not None
        event.before.after = event
        if event.after is not None:
            event.after.before = event


def partition(calls: Sequence[Call]) -> dict[str, list[Call]]:
    """The calls by key, keys in order of appearance."""
    parts: dict[str, list[Call]] = {}
    for call in calls:
        parts.setdefault(call.key, []).append(call)
    return parts


def useful(calls: Sequence[Call]) -> list[Call]:
    """Without reads of unknown outcome: they showed nothing and changed nothing."""
    return [call for call in calls if call.returned_at is not None or call.action != "read"]


def check_linearizable(calls: Sequence[Call], model: Model[S], steps_max: int = STEPS_MAX) -> list[Finding]:
    """One finding per key. The history is linearizable if every verdict is LEGAL."""
    findings = []
    for key, part in partition(useful(calls)).items():
        search = _Search(model, part, steps_max)
        verdict = search.run()
        findings.append(Finding(key, verdict, len(part), search.longest, search.steps))
    return findings
