"""What a watcher must see, and must not.

Rules checked, per connection (a watch lives and dies with its connection), in the order in which things were received
- watch-unasked   an event has a watch that was registered by a reply received before it, and that had not fired
- watch-wrong     a one-shot watch fires for the first matching change after its registration; a persistent one for every change,
  in order
- watch-late      no reply shows a state (by its zxid) that includes a change whose event has not been received
- watch-missed    a connection that lived to the end of the history was told everything it asked for
A watch of `get` and `exists` hears created, changed, deleted; one of `children` hears children, deleted; a persistent one hears
all of them on its node, a recursive one created, changed, deleted on its node and all below. A deletion is told once per
connection, whatever watches it had on the node. Needs the zxids of replies (a registration without one is not judged); those of
events are used if given. Source: ZooKeeper's watch guarantees; zookeeper-protocol.md, "Subtle points".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from loggos.check.history import NO_NODE, OK, Applied, History, Operation, Outcome, Violation, WatchEvent
from loggos.check.model import MODELLED_CODES, Tree

DATA_KINDS = ("created", "changed", "deleted")
CHILD_KINDS = ("children", "deleted")


class Change(NamedTuple):
    zxid: int
    kind: str
    path: str


class Changes:
    """Everything that watchers are told, from the log."""

    def __init__(self, log: Sequence[Applied], existing: Sequence[str]) -> None:
        tree = Tree()
        for path in existing:
            tree.add(path)
        self.all: list[Change] = []
        self._by_path: dict[str, list[Change]] = {}
        for entry in log:
            if entry.code not in MODELLED_CODES or (entry.request.kind == "expire" and entry.code != OK):
                continue
            tree.apply(entry.index, entry.session, entry.request)
            for kind, path in tree.events:
                change = Change(entry.index, kind, path)
                self.all.append(change)
                self._by_path.setdefault(path, []).append(change)

    def first(self, path: str, kinds: tuple[str, ...], after: int) -> Change | None:
        changes = self._by_path.get(path, [])
        start = bisect_right(changes, after, key=lambda change: change.zxid)
        return next((change for change in changes[start:] if change.kind in kinds), None)

    def every(self, path: str, recursive: bool, after: int) -> list[Change]:
        """What a persistent watch is told, in order."""
        if not recursive:
            return [change for change in self._by_path.get(path, []) if change.zxid > after]
        below = path.rstrip("/") + "/"
        return [
            change
            for change in self.all
            if change.zxid > after and change.kind in DATA_KINDS and (change.path == path or change.path.startswith(below))
        ]


class Persistent:
    """A persistent watch: what it has yet to be told."""

    def __init__(self, path: str, recursive: bool, due: list[Change]) -> None:
        self.path, self.recursive, self.due, self.told = path, recursive, due, 0

    def next(self) -> Change | None:
        return self.due[self.told] if self.told < len(self.due) else None

    def covers(self, event: WatchEvent) -> bool:
        if not self.recursive:
            return event.path == self.path
        return event.kind in DATA_KINDS and (event.path == self.path or event.path.startswith(self.path.rstrip("/") + "/"))


class Connection:
    """One connection: walks over what it received. Each rule is a method of its own."""

    def __init__(self, name: tuple[int, int], changes: Changes, violations: list[Violation]) -> None:
        self.name, self.changes, self.violations = name, changes, violations
        self.one_shot: dict[tuple[str, tuple[str, ...]], int] = {}  # (path, kinds) -> index at registration
        self.persistent: list[Persistent] = []

    def report(self, rule: str, message: str) -> None:
        self.violations.append(Violation(rule, f"connection {self.name[1]} of session {self.name[0]}: {message}"))

    def replied(self, operation: Operation) -> None:
        reply = operation.reply
        if reply is None or operation.outcome is not Outcome.KNOWN:
            return
        if reply.zxid > 0:
            self.check_not_late(operation, reply.zxid)
        request = operation.request
        if request.kind == "remove_watches" and reply.code == OK:
            self.one_shot = {key: index for key, index in self.one_shot.items() if key[0] != request.path}
            self.persistent = [watch for watch in self.persistent if watch.path != request.path]
        elif request.kind == "add_watch" and reply.code == OK and reply.zxid > 0:
            due = self.changes.every(request.path, request.recursive, reply.zxid)
            self.persistent.append(Persistent(request.path, request.recursive, due))
        elif request.watch and self.registers(operation) and reply.zxid > 0:
            kinds = CHILD_KINDS if request.kind == "children" else DATA_KINDS
            self.one_shot.setdefault((request.path, kinds), reply.zxid)

    def registers(self, operation: Operation) -> bool:
        """`exists` watches a node that is not there, too; the others only one that is."""
        assert operation.reply is not None
        return operation.reply.code == OK or (operation.request.kind == "exists" and operation.reply.code == NO_NODE)

    def due_changes(self) -> list[Change]:
        """The next change that every watch has to tell."""
        due = [self.changes.first(path, kinds, index) for (path, kinds), index in self.one_shot.items()]
        due += [watch.next() for watch in self.persistent]
        return [change for change in due if change is not None]

    def check_not_late(self, operation: Operation, zxid: int) -> None:
        for change in self.due_changes():
            if change.zxid <= zxid:
                told = f"{operation.request.kind} {operation.request.path} (operation {operation.sequence})"
                self.report("watch-late", f"the reply to {told} at {zxid} came before the event of {_told(change)}")
                self._forget(change)

    def received(self, event: WatchEvent) -> None:
        expected = self._take(event)
        if not expected:
            self.report("watch-unasked", f"no watch was waiting for {event.kind} {event.path} at zxid {event.zxid}")
            return
        for change in expected:
            if change is None or not self.tells(event, change):
                wanted = "nothing" if change is None else _told(change)
                self.report("watch-wrong", f"told {event.kind} {event.path} at zxid {event.zxid}, due was {wanted}")

    def tells(self, event: WatchEvent, change: Change) -> bool:
        return event.kind == change.kind and event.path == change.path and event.zxid in (0, change.zxid)

    def _take(self, event: WatchEvent) -> list[Change | None]:
        """The changes that the watches concerned were waiting for; one-shot ones are gone then."""
        expected: list[Change | None] = []
        for kinds in (DATA_KINDS, CHILD_KINDS):
            key = (event.path, kinds)
            if event.kind in kinds and key in self.one_shot:
                expected.append(self.changes.first(event.path, kinds, self.one_shot.pop(key)))
        for watch in self.persistent:
            if watch.covers(event):
                expected.append(watch.next())
                watch.told += 1
        return expected

    def _forget(self, change: Change) -> None:
        """It is reported once; do not let it spoil what follows."""
        for key, index in list(self.one_shot.items()):
            if self.changes.first(*key, index) == change:
                del self.one_shot[key]
        for watch in self.persistent:
            if watch.next() == change:
                watch.told += 1

    def check_not_missed(self) -> None:
        for change in self.due_changes():
            self.report("watch-missed", f"was never told of {_told(change)}")


def check_watches(
    history: History, alive: Sequence[tuple[int, int]] = (), existing: Sequence[str] = ("/zookeeper",)
) -> list[Violation]:
    """`alive`: (session, connection) of those that stood, with nothing on its way, when the history ended."""
    violations: list[Violation] = []
    changes = Changes(history.log, existing)
    received: dict[tuple[int, int], list[Operation | WatchEvent]] = {}
    for operation in history.operations:
        if operation.returned_at is not None:
            received.setdefault((operation.session, operation.connection), []).append(operation)
    for event in history.events:
        received.setdefault((event.session, event.connection), []).append(event)
    for name, items in sorted(received.items(), key=lambda pair: pair[0]):
        connection = Connection(name, changes, violations)
        for item in sorted(items, key=_place):
            if isinstance(item, WatchEvent):
                connection.received(item)
            else:
                connection.replied(item)
        if name in alive:
            connection.check_not_missed()
    return violations


def _place(item: Operation | WatchEvent) -> tuple[int, float, bool]:
    """Where order is not recorded, time decides, and at one time the event counts as the first (the benefit of the doubt)."""
    if isinstance(item, WatchEvent):
        return item.order, item.at, False
    assert item.returned_at is not None
    return item.order, item.returned_at, True


def _told(change: Change) -> str:
    return f"{change.kind} {change.path} at {change.zxid}"
