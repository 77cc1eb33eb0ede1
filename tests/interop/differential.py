"""Runs one program against two servers and finds where they answer differently; shortens the program that shows it.

What differs by nature is paired, not ignored: zxids and session ids must be the same up to renaming, zxids in the same order.
Deliberate differences are a table (`Difference`), each with its reason: anything else is a defect of one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tests.interop.frames import Closed, Event, Owner, RawSession, Reply, Time, Zxid
from tests.interop.programs import OPEN, SESSIONS, UNKNOWN, Op, Program, Step

CLOSED, SILENT = "closed", "no answer"
CLOCKS_APART_MS = 600_000  # both run on this machine; a slow run may stretch a step


class Mismatch(AssertionError):
    """The servers differ."""


class Peer:
    """One server (or cluster) and the sessions of one program on it."""

    def __init__(self, name: str, addresses: Sequence[tuple[str, int]], base: bytes) -> None:
        self.name, self.addresses, self.base = name, addresses, base
        self.sessions = [self.open(number) for number in range(SESSIONS)]
        self.above()
        self.zxids: list[list[int]] = [[] for _ in range(SESSIONS)]

    def open(self, number: int) -> RawSession:
        return RawSession(self.addresses[number % len(self.addresses)])

    def above(self) -> None:
        """Make what is above the program's subtree."""
        session = self.sessions[0]
        xid, frame = session.encode("create", (self.base[: self.base.rindex(b"/")], b"", OPEN, 0))
        session.send(frame)
        self.until_reply(session, "create", xid)

    def close(self) -> None:
        """End the sessions, so that their ephemerals do not outlive the program."""
        for session in self.sessions:
            xid, frame = session.encode("close", (b"",))
            session.send(frame)
            try:
                self.until_reply(session, "close", xid)
            except Closed:
                pass
            session.drop()

    def placed(self, value: Any) -> Any:
        """Arguments with the program's own subtree in the place of `%`."""
        if isinstance(value, bytes):
            return value.replace(b"%", self.base, 1) if value.startswith(b"%") else value
        if isinstance(value, tuple) and not isinstance(value, str):
            return tuple(self.placed(item) for item in value)
        return value

    def run(self, step: Step) -> list[Any]:
        """Everything that the session received, in order; `closed` where the server closed the connection."""
        session = self.sessions[step.session]
        if step.ops[0].kind == "drop":
            return [self.resume(step.session)]
        expected: list[tuple[str, int]] = []
        frames = b""
        for op in step.ops:
            xid, frame = session.encode(op.kind, self.arguments(step.session, op))
            expected.append((op.kind, xid))
            frames += frame
        session.send(frames)
        received: list[Any] = []
        try:
            for kind, xid in expected:
                received += self.until_reply(session, kind, xid)
                if kind == "close" or (kind.startswith("op") and any(op in UNKNOWN for op in step.ops)):
                    raise Closed  # after an unknown opcode Apache ZooKeeper answers and hangs up, Loggos answers and goes on
        except (Closed, TimeoutError) as end:
            received.append(CLOSED if isinstance(end, Closed) else SILENT)
            session.drop()
            self.sessions[step.session] = self.open(step.session)
        self.zxids[step.session].append(self.sessions[step.session].last_zxid)
        return received

    def until_reply(self, session: RawSession, kind: str, xid: int) -> list[Any]:
        found: list[Any] = []
        while True:
            item = session.receive(kind, xid)
            found.append(item)
            if isinstance(item, Reply):
                return found

    def resume(self, number: int) -> Any:
        """Leave without a word and come back with the password."""
        old = self.sessions[number]
        old.drop()
        again = RawSession(
            self.addresses[number % len(self.addresses)], session=old.session, password=old.password, zxid=old.last_zxid
        )
        self.sessions[number] = again
        return ("resumed", again.session == old.session, again.password == old.password, again.timeout_ms == old.timeout_ms)

    def arguments(self, number: int, op: Op) -> tuple[Any, ...]:
        placed: tuple[Any, ...] = self.placed(op.arguments)
        if not op.kind.startswith("setWatches"):
            return placed
        known = self.zxids[number]
        back = min(op.zxid_back, len(known))
        return (known[-back] if back else self.sessions[number].last_zxid, *placed)

    def flush(self, number: int) -> list[Any]:
        """What has come for a session meanwhile: everything before the answer to a sync."""
        session = self.sessions[number]
        xid, frame = session.encode("sync", (self.base,))
        session.send(frame)
        try:
            return self.until_reply(session, "sync", xid)[:-1]
        except Closed:
            self.sessions[number] = self.open(number)
            return [CLOSED]


class Pairing:
    """Which zxid of the one server is which of the other; likewise sessions."""

    def __init__(self) -> None:
        self.forth: dict[tuple[type, int], int] = {}
        self.back: dict[tuple[type, int], int] = {}

    def same(self, mine: int, theirs: int) -> bool:
        kind = type(mine)
        if (mine == 0) != (theirs == 0):
            return False
        known = self.forth.setdefault((kind, mine), theirs), self.back.setdefault((kind, theirs), mine)
        return known == (theirs, mine)

    def out_of_order(self) -> tuple[int, int] | None:
        """Two zxids whose order is not the same in both servers; None if there are none."""
        pairs = sorted((mine, theirs) for (kind, mine), theirs in self.forth.items() if kind is Zxid)
        for (_, before), (mine, theirs) in pairwise(pairs):
            if theirs <= before:
                return mine, theirs
        return None


class Difference(NamedTuple):
    """A deliberate difference. `hit(op, mine, theirs)`: is this it? `final`: what follows cannot be compared."""

    reason: str
    hit: Callable[[Op, Any, Any], bool]
    final: bool = False


class Comparison:
    """The two servers' answers to one program, side by side."""

    def __init__(self, deliberate: Sequence[Difference] = ()) -> None:
        self.pairing = Pairing()
        self.deliberate = deliberate
        self.over = False

    def compare(self, step: Step, mine: list[Any], theirs: list[Any]) -> None:
        for position, (a, b) in enumerate(zip(mine, theirs, strict=False)):
            if not self.alike(a, b):
                self.judge(step, position, mine, theirs)
                if self.over:
                    return
        if len(mine) != len(theirs):
            self.judge(step, min(len(mine), len(theirs)), mine, theirs)

    def judge(self, step: Step, position: int, mine: list[Any], theirs: list[Any]) -> None:
        a = mine[position] if position < len(mine) else None
        b = theirs[position] if position < len(theirs) else None
        answered = sum(1 for item in mine[:position] if isinstance(item, Reply))
        op = step.ops[min(answered, len(step.ops) - 1)]
        for row in self.deliberate:
            if row.hit(op, a, b):
                self.over = self.over or row.final
                return
        raise Mismatch(
            f"session {step.session}, {op}\n  ours:   {a}\n  theirs: {b}\n  all ours:   {mine}\n  all theirs: {theirs}"
        )

    def alike(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b):
            return False
        if isinstance(a, Time):
            return abs(a - b) < CLOCKS_APART_MS
        if isinstance(a, (Zxid, Owner)):
            return self.pairing.same(a, b)
        if isinstance(a, Reply):
            plain = a.kind == b.kind and a.xid_matches and b.xid_matches and a.error == b.error
            return plain and self.alike(a.value, b.value)
        if isinstance(a, Event):
            return a == b
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(self.alike(a[key], b[key]) for key in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(self.alike(x, y) for x, y in zip(a, b, strict=True))
        return bool(a == b)


def is_unordered(step: Step) -> bool:
    """Does it end a session, whose ephemerals Apache ZooKeeper deletes in the order of a hash table?"""
    return any(op.kind == "close" for op in step.ops)


def in_runs_of_events(items: list[Any]) -> list[Any]:
    """The same with every run of consecutive events sorted."""
    found: list[Any] = []
    run: list[Event] = []
    for item in [*items, None]:
        if isinstance(item, Event):
            run.append(item)
            continue
        found += sorted(run)
        run = []
        if item is not None:
            found.append(item)
    return found


def run_program(program: Program, mine: Peer, theirs: Peer, deliberate: Sequence[Difference] = ()) -> None:
    """Mismatch where the two first differ."""
    comparison = Comparison(deliberate)
    for step in program:
        arrange = in_runs_of_events if is_unordered(step) else list
        comparison.compare(step, arrange(mine.run(step)), arrange(theirs.run(step)))
        for number in range(SESSIONS):
            if number != step.session and not comparison.over:
                quiet = Step(number, (Op("sync"),))
                comparison.compare(quiet, arrange(mine.flush(number)), arrange(theirs.flush(number)))
        if comparison.over:
            return
    wrong = comparison.pairing.out_of_order()
    if wrong is not None:
        raise Mismatch(f"zxids are not in the same order: ours {wrong[0]}, theirs {wrong[1]}")


def shorten(program: Program, fails: Callable[[Program], bool], budget: int = 200) -> Program:
    """A program from which no step can be taken without losing the failure, found in at most `budget` runs."""
    size = max(1, len(program) // 2)
    while size >= 1:
        at = 0
        while at < len(program) and budget > 0:
            shorter = program[:at] + program[at + size :]
            budget -= 1
            if shorter and fails(shorter):
                program = shorter
            else:
                at += size
        size = size // 2
    return program


def written(program: Program) -> str:
    """For the reader of a failure."""
    return "\n".join(f"  {step.session}: {', '.join(f'{op.kind}{op.arguments}' for op in step.ops)}" for step in program)
