"""The witness check: the log says in which order everything happened; every reply must agree with it. O(n log n).

Rules checked (the names that violations carry)
- log-order        indices increase; an entry belongs to a known operation, or to none of the recorded clients
- log-result       replaying the log through the model gives the code that the log recorded
- acknowledged     what was acknowledged is in the log, once, with the result, path and stat that were acknowledged
- at-most-once     no operation is in the log twice; one that failed for certain is not there at all
- session-order    a session's operations have indices in the order they were sent
- real-time        an operation invoked after another returned has the larger index; none has an index from before it was invoked
- read-state       a read shows the state at one index, not beyond what anyone had asked for when it returned
- read-monotonic   which is never before what its session has seen or written, on whatever connection
- read-fresh       after a sync, or asked to be linearizable: never before what had been acknowledged when that was invoked; nor
  is a sync answered by a server that is behind that
- reply-zxid       the zxids in a connection's replies never go back, nor below the operation's own index
- session-end      nothing of a session is applied after its end; nothing it owns outlives it (the model), or is read in its name
- expiry           no session expires that wrote or was taken up since its proposer looked, or that got a write answered within
  its timeout, or while answered pings kept it alive and nothing was wrong
Source: safety rules, "The log is the witness"; faults-and-checkers B3 (rung a).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from loggos.check.history import (
    ATTACH,
    ENDS,
    NO_NODE,
    OK,
    READS,
    WRITES,
    Applied,
    History,
    Operation,
    Outcome,
    Reply,
    StatView,
    Time,
    Violation,
)
from loggos.check.matching import must_be_in_log
from loggos.check.model import MODELLED_CODES, Node, Result, Tree

T = TypeVar("T", int, float)

VIOLATIONS_MAX = 50  # enough to see what is wrong; the rest follows from it


@dataclass(frozen=True, slots=True)
class WitnessRules:
    """What depends on the server under test."""

    existing: tuple[str, ...] = ("/zookeeper",)  # persistent nodes from before the history
    ignored_stats: tuple[str, ...] = ("/",)  # nodes whose stat has a history of its own
    reads_are_exact: bool = False  # the zxid of a read's reply is the very index whose state it shows
    zxids_are_positions: bool = True  # reply zxids are the log's indices (False: only their order counts)


class PathHistory:
    """Every state one path ever had: `indices[i]` is the first index of `states[i]`."""

    __slots__ = ("indices", "states")

    def __init__(self, node: Node | None) -> None:
        self.indices = [0]
        self.states: list[Node | None] = [node]


class Timeline:
    """The log replayed: results by position, states by path and index, ends of sessions, and what was known when."""

    def __init__(self, log: Sequence[Applied], existing: Sequence[str]) -> None:
        tree = Tree()
        for path in existing:
            tree.add(path)
        self.paths: dict[str, PathHistory] = {path: PathHistory(node) for path, node in tree.nodes.items()}
        self.results: list[Result] = []
        self.ends: dict[int, int] = {}
        for entry in log:
            self.results.append(self._apply(tree, entry))
        self.last = log[-1].index if log else 0

    def _apply(self, tree: Tree, entry: Applied) -> Result:
        if entry.code not in MODELLED_CODES:
            return Result(entry.code)  # refused for a reason the model does not know: taken at its word, without effect
        if entry.request.kind in ENDS and entry.code == OK:
            self.ends.setdefault(entry.session, entry.index)
        if entry.request.kind == "expire" and entry.code != OK:
            return Result(entry.code)
        result = tree.apply(entry.index, entry.session, entry.request)
        for path in tree.changed:
            history = self.paths.get(path)
            if history is None:
                history = self.paths[path] = PathHistory(None)
            history.indices.append(entry.index)
            history.states.append(tree.nodes.get(path))
        return result

    def first_index(self, path: str, matches: _Matcher, low: int, high: int) -> int | None:
        """The smallest index in [low, high] at which the path's state matches."""
        history = self.paths.get(path)
        if history is None:
            return low if low <= high and matches.matches(None) else None
        position = bisect_right(history.indices, low) - 1
        while position < len(history.indices) and history.indices[position] <= high:
            if matches.matches(history.states[position]):
                return max(low, history.indices[position])
            position += 1
        return None


class _Matcher:
    """Does a state of the node agree with what a read showed?"""

    def __init__(self, operation: Operation, reply: Reply, ignore_stat: bool) -> None:
        self.kind, self.reply = operation.request.kind, reply
        self.stat = None if ignore_stat else reply.stat

    def matches(self, node: Node | None) -> bool:
        if node is None:
            return self.reply.code == NO_NODE
        if self.reply.code != OK:
            return self.reply.code not in MODELLED_CODES  # such as no permission: nothing was shown
        if self.reply.value is not None and self.reply.value != node.value:
            return False
        if self.reply.children is not None and sorted(self.reply.children) != sorted(node.children):
            return False
        return self.stat is None or stat_agrees(self.stat, node)


def stat_agrees(shown: StatView, node: Node) -> bool:
    return all(seen is None or seen == real for seen, real in zip(shown, node.stat, strict=True))


class Knowledge:
    """What had been acknowledged, and what had been asked for, at a time."""

    def __init__(self, pairs: Sequence[tuple[Operation, Applied]]) -> None:
        returned = sorted(
            (op.returned_at, entry.index) for op, entry in pairs if op.returned_at is not None and must_be_in_log(op)
        )
        self._return_times: list[Time] = [time for time, _ in returned]
        self._return_highest: list[int] = _running_maximum([index for _, index in returned])
        by_index = sorted((entry.index, op.invoked_at) for op, entry in pairs)
        self._indices: list[int] = [index for index, _ in by_index]
        self._invoked_latest: list[Time] = _running_maximum([time for _, time in by_index])

    def floor(self, time: Time) -> int:
        """The highest index that was acknowledged to anyone before `time`."""
        count = bisect_left(self._return_times, time)
        return self._return_highest[count - 1] if count else 0

    def ceiling(self, time: Time, last: int) -> int:
        """The highest index that can have been applied by `time`: the next one was asked for only later."""
        position = bisect_right(self._invoked_latest, time)
        return self._indices[position] - 1 if position < len(self._indices) else last


def _running_maximum(values: list[T]) -> list[T]:
    highest: list[T] = []
    for value in values:
        highest.append(value if not highest else max(highest[-1], value))
    return highest


class Witness:
    """One run of the check. Each rule is a method of its own."""

    def __init__(self, history: History, rules: WitnessRules) -> None:
        self.history, self.rules = history, rules
        self.violations: list[Violation] = []
        self.timeline = Timeline(history.log, rules.existing)
        self.entries: dict[tuple[int, int], tuple[Applied, Result]] = {}
        self._index_log()
        self.pairs = [
            (operation, self.entries[operation.session, operation.sequence][0])
            for operation in history.operations
            if (operation.session, operation.sequence) in self.entries
        ]
        self.knowledge = Knowledge(self.pairs)

    def run(self) -> list[Violation]:
        self.check_log_order()
        self.check_log_results()
        self.check_real_time()
        self.check_after_end()
        self.check_expiries()
        self.check_kept_alive()
        sessions: dict[int, list[Operation]] = {}
        for operation in self.history.operations:
            sessions.setdefault(operation.session, []).append(operation)
        for session, operations in sorted(sessions.items()):
            self.check_session(session, sorted(operations, key=lambda operation: operation.sequence))
        return self.violations[:VIOLATIONS_MAX]

    def report(self, rule: str, message: str) -> None:
        self.violations.append(Violation(rule, message))

    def _index_log(self) -> None:
        for entry, result in zip(self.history.log, self.timeline.results, strict=True):
            if not entry.sequence:
                continue
            key = (entry.session, entry.sequence)
            if key in self.entries:
                first = self.entries[key][0].index
                self.report("at-most-once", f"{_name(key)} is in the log at {first} and again at {entry.index}")
            else:
                self.entries[key] = (entry, result)

    # --- the log by itself -----------------------------------------------------------------------------------------------

    def check_log_order(self) -> None:
        last = 0
        sessions = {operation.session: None for operation in self.history.operations}
        for entry in self.history.log:
            if entry.index <= last:
                self.report("log-order", f"index {entry.index} follows {last}")
            last = entry.index
            if not entry.sequence and entry.session in sessions and entry.request.kind in WRITES:
                self.report(
                    "log-order",
                    f"the entry at {entry.index} ({entry.request.kind} {entry.request.path}) is no client's operation",
                )

    def check_log_results(self) -> None:
        for entry, result in zip(self.history.log, self.timeline.results, strict=True):
            if result.code != entry.code:
                asked = f"{entry.request.kind} {entry.request.path}"
                self.report("log-result", f"{asked} at {entry.index} gave {entry.code}, the model says {result.code}")

    def check_real_time(self) -> None:
        for operation, entry in self.pairs:
            floor = self.knowledge.floor(operation.invoked_at)
            if floor >= entry.index:
                self.report(
                    "real-time", f"{_told(operation)} has index {entry.index}, but {floor} was acknowledged before it was invoked"
                )

    def check_after_end(self) -> None:
        for entry in self.history.log:
            end = self.timeline.ends.get(entry.session)
            if end is not None and entry.index > end and entry.code == OK and entry.request.kind in WRITES:
                self.report(
                    "session-end", f"session {entry.session} ended at {end}, yet wrote {entry.request.path} at {entry.index}"
                )

    def check_expiries(self) -> None:
        writes: dict[int, list[int]] = {}
        invoked: dict[int, Time] = {}
        by_entry = {entry.index: operation for operation, entry in self.pairs}
        for entry in self.history.log:
            if entry.request.kind == "expire" and entry.code == OK:
                self._check_expiry(entry, writes.get(entry.session, []), invoked.get(entry.session))
            elif entry.request.kind == ATTACH:
                writes.setdefault(entry.session, []).append(entry.index)
            elif entry.request.kind in WRITES:
                writes.setdefault(entry.session, []).append(entry.index)
                operation = by_entry.get(entry.index)
                if operation is not None:
                    invoked[entry.session] = max(operation.invoked_at, invoked.get(entry.session, operation.invoked_at))

    def check_kept_alive(self) -> None:
        expired = {
            entry.session: entry.applied_at for entry in self.history.log if entry.request.kind == "expire" and entry.code == OK
        }
        for session, since, until in self.history.kept:
            at = expired.get(session)
            if at is not None and since <= at <= until:
                self.report("expiry", f"session {session} expired at time {at}, its pings were answered from {since} to {until}")

    def _check_expiry(self, entry: Applied, writes: list[int], invoked_at: Time | None) -> None:
        if entry.last_seen is not None and writes and writes[-1] > entry.last_seen:
            self.report(
                "expiry",
                f"session {entry.session} expired at {entry.index} as last seen at {entry.last_seen}, but acted at {writes[-1]}",
            )
        timeout = self.history.session_timeouts.get(entry.session)
        if timeout is None or entry.applied_at is None or invoked_at is None:
            return
        if entry.applied_at < invoked_at + timeout:
            self.report(
                "expiry",
                f"session {entry.session} expired at time {entry.applied_at}, {timeout} had not passed since {invoked_at}",
            )

    # --- one session -----------------------------------------------------------------------------------------------------

    def check_session(self, session: int, operations: list[Operation]) -> None:
        seen = 0  # the lowest index that explains all this session saw
        last_written = 0
        zxids: dict[int, int] = {}
        for operation in operations:
            reply = operation.reply
            found = self.entries.get((session, operation.sequence))
            kind = operation.request.kind
            if kind in WRITES or kind == "close":
                if found is not None:
                    if found[0].index <= last_written:
                        self.report(
                            "session-order", f"{_told(operation)} has index {found[0].index}, an earlier one has {last_written}"
                        )
                    last_written = max(last_written, found[0].index)
                self.check_write(operation, found)
                if found is not None and must_be_in_log(operation):
                    seen = max(seen, found[0].index)
            elif operation.outcome is Outcome.KNOWN and reply is not None:
                if kind == "sync":
                    seen = max(seen, self.sync_floor(operation, reply))
                elif kind in READS:
                    seen = self.check_read(operation, reply, seen)
            self._check_zxid(operation, found, zxids)

    def sync_floor(self, operation: Operation, reply: Reply) -> int:
        """What a sync promises. The server that answers it must have applied that itself, whatever is read behind it."""
        if reply.code != OK:
            return 0
        floor = self.knowledge.floor(operation.invoked_at)
        if self.rules.zxids_are_positions and 0 < reply.zxid < floor:
            what = f"{_told(operation)} was answered at {reply.zxid}"
            self.report("read-fresh", f"{what}, but {floor} was acknowledged before it was invoked")
        return floor

    def _check_zxid(self, operation: Operation, found: tuple[Applied, Result] | None, zxids: dict[int, int]) -> None:
        reply = operation.reply
        if reply is None or reply.zxid <= 0:
            return
        last = zxids.get(operation.connection, 0)
        if reply.zxid < last:
            self.report("reply-zxid", f"{_told(operation)} was answered at {reply.zxid} after {last} on the same connection")
        if found is not None and self.rules.zxids_are_positions and reply.zxid < found[0].index and must_be_in_log(operation):
            self.report("reply-zxid", f"{_told(operation)} has index {found[0].index}, its reply says {reply.zxid}")
        zxids[operation.connection] = max(last, reply.zxid)

    def check_write(self, operation: Operation, found: tuple[Applied, Result] | None) -> None:
        if found is None:
            if must_be_in_log(operation):
                self.report("acknowledged", f"{_told(operation)} was answered, but is not in the log")
            return
        entry, result = found
        if operation.outcome is Outcome.FAILED:
            self.report("at-most-once", f"{_told(operation)} failed for certain, yet is in the log at {entry.index}")
        if entry.request != operation.request:
            self.report("acknowledged", f"{_told(operation)} is in the log as {entry.request.kind} {entry.request.path}")
        if must_be_in_log(operation) and operation.reply is not None:
            self.check_write_reply(operation, operation.reply, entry, result)

    def check_write_reply(self, operation: Operation, reply: Reply, entry: Applied, result: Result) -> None:
        if operation.request.kind == "multi":
            self._check_multi_reply(operation, reply, entry, result)
        elif reply.code != entry.code:
            self.report(
                "acknowledged", f"{_told(operation)} was answered {reply.code}, the log says {entry.code} at {entry.index}"
            )
        if reply.path is not None and result.path is not None and reply.path != result.path:
            self.report("acknowledged", f"{_told(operation)} was answered {reply.path}, the log says {result.path}")
        if reply.stat is not None and reply.code == OK:
            path = result.path or operation.request.path
            self._check_stat(operation, reply.stat, path, entry.index)

    def _check_stat(self, operation: Operation, shown: StatView, path: str, index: int) -> None:
        history = self.timeline.paths.get(path)
        node = None if history is None else history.states[bisect_right(history.indices, index) - 1]
        if node is not None and path not in self.rules.ignored_stats and not stat_agrees(shown, node):
            self.report("acknowledged", f"{_told(operation)} showed {shown}, the log at {index} gives {node.stat}")

    def _check_multi_reply(self, operation: Operation, reply: Reply, entry: Applied, result: Result) -> None:
        """A failed multi's header says 0; its parts say which one failed."""
        if entry.code not in MODELLED_CODES:
            return
        if reply.codes and reply.codes != result.codes:
            self.report(
                "acknowledged", f"{_told(operation)} was answered {reply.codes}, the log says {result.codes} at {entry.index}"
            )

    def check_read(self, operation: Operation, reply: Reply, seen: int) -> int:
        """The lowest index that explains what the session has seen now."""
        assert operation.returned_at is not None, operation
        high = self.read_ceiling(operation, reply)
        low = seen
        path = operation.request.path
        matcher = _Matcher(operation, reply, path in self.rules.ignored_stats)
        if self.rules.reads_are_exact and reply.zxid > 0:
            low = max(low, reply.zxid)
        fresh = self.knowledge.floor(operation.invoked_at) if operation.request.linearizable else 0
        index = self.timeline.first_index(path, matcher, max(low, fresh), high)
        if index is not None:
            return index
        self.report(*self._why_not(operation, matcher, seen, fresh, high))
        return seen

    def read_ceiling(self, operation: Operation, reply: Reply) -> int:
        """No read shows what nobody had asked for, nor what comes after the server's last applied index or the session's end."""
        assert operation.returned_at is not None
        high = self.knowledge.ceiling(operation.returned_at, self.timeline.last)
        if reply.zxid > 0 and self.rules.zxids_are_positions:
            high = min(high, reply.zxid)
        end = self.timeline.ends.get(operation.session)
        return high if end is None else min(high, end - 1)

    def _why_not(self, operation: Operation, matcher: _Matcher, seen: int, fresh: int, high: int) -> tuple[str, str]:
        path = operation.request.path
        told = f"{_told(operation)} showed {_shown(matcher.reply)}"
        if self.timeline.first_index(path, matcher, seen, high) is not None and fresh > seen:
            return "read-fresh", f"{told}: not the state at any index from {fresh}, acknowledged before it was invoked, to {high}"
        if seen and self.timeline.first_index(path, matcher, 0, high) is not None:
            return "read-monotonic", f"{told}: the state of an index before {seen}, which its session had seen or was promised"
        later = self.timeline.first_index(path, matcher, 0, self.timeline.last)
        if later is not None:
            end = self.timeline.ends.get(operation.session)
            if end is not None and later >= end:
                return "session-end", f"{told}: the state at {later}, but the session ended at {end}"
            return "read-state", f"{told}: the state at {later} at the earliest, but no index above {high} can have been applied"
        return "read-state", f"{told}: not the state at any index"


def check_witness(history: History, rules: WitnessRules | None = None) -> list[Violation]:
    """All violations found (at most VIOLATIONS_MAX). The log must be numbered: see matching.assign_sequences."""
    return Witness(history, rules or WitnessRules()).run()


def _name(key: tuple[int, int]) -> str:
    return f"operation {key[1]} of session {key[0]}"


def _told(operation: Operation) -> str:
    return f"{operation.request.kind} {operation.request.path} ({_name((operation.session, operation.sequence))})"


def _shown(reply: Reply) -> str:
    parts = [f"code {reply.code}"]
    if reply.value is not None:
        parts.append(f"value {reply.value[:40]!r}")
    if reply.children is not None:
        parts.append(f"children {sorted(reply.children)[:5]}")
    if reply.stat is not None:
        parts.append(str({name: value for name, value in reply.stat._asdict().items() if value is not None}))
    return ", ".join(parts)
