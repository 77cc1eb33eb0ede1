"""Histories in few words. A script of operations on a perfect server gives a good history; tests then spoil one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from loggos.check import Applied, History, Operation, Outcome, Reply, Request, Tree, WatchEvent
from loggos.check.history import NO_NODE, READS, REAP, WRITES


class Recorder:
    """A perfect server: every operation takes effect at once, in the order of the calls; time counts the calls."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.tree.add("/zookeeper")
        self.index = 0
        self.time = 0.0
        self.operations: list[Operation] = []
        self.log: list[Applied] = []
        self.events: list[WatchEvent] = []
        self.sequences: dict[int, int] = {}
        self.states: list[dict[str, Any]] = [dict(self.tree.nodes)]

    def do(self, session: int, kind: str, path: str = "", **fields: Any) -> int:
        """Run an operation; its position in `operations`."""
        request = Request(kind, path, **fields)
        self.time += 1
        invoked = self.time
        reply = self._write(session, request) if kind in (*WRITES, "close") else self._read(request, self.index)
        self.time += 1
        sequence = self.sequences[session] = self.sequences.get(session, 0) + 1
        if kind in (*WRITES, "close"):
            self.log[-1] = replace(self.log[-1], sequence=sequence)
        self.operations.append(Operation(session, session, sequence, invoked, self.time, request, Outcome.KNOWN, reply))
        return len(self.operations) - 1

    def expire(self, session: int, **fields: Any) -> None:
        self.index += 1
        self.tree.apply(self.index, session, Request("expire"))
        self.log.append(Applied(self.index, session, Request("expire"), **fields))
        self.states.append(dict(self.tree.nodes))

    def reap(self, path: str, pzxid: int) -> None:
        """The cell deletes a container, whether it may or not."""
        self.index += 1
        request = Request(REAP, path, version=pzxid)
        self.tree.apply(self.index, 0, request)
        self.log.append(Applied(self.index, 0, request))
        self.states.append(dict(self.tree.nodes))

    def event(self, session: int, kind: str, path: str, zxid: int = 0) -> None:
        self.time += 1
        self.events.append(WatchEvent(session, session, self.time, kind, path, zxid))

    def read_at(self, index: int, session: int, kind: str, path: str, **fields: Any) -> int:
        """A read that shows the state of an older index."""
        position = self.do(session, kind, path, **fields)
        reply = self._read(self.operations[position].request, index)
        self.operations[position] = replace(self.operations[position], reply=reply)
        return position

    def spoil(self, position: int, change: Callable[[Operation], Operation]) -> None:
        self.operations[position] = change(self.operations[position])

    def history(self, **fields: Any) -> History:
        return History(self.operations, self.log, self.events, **fields)

    def _write(self, session: int, request: Request) -> Reply:
        self.index += 1
        result = self.tree.apply(self.index, session, request)
        self.log.append(Applied(self.index, session, request, result.code))
        self.states.append(dict(self.tree.nodes))
        if request.kind == "multi":
            return Reply(0, self.index, codes=result.codes)
        node = self.tree.nodes.get(result.path or request.path)
        stat = node.stat if node is not None and result.code == 0 and request.kind != "delete" else None
        return Reply(result.code, self.index, path=result.path, stat=stat)

    def _read(self, request: Request, index: int) -> Reply:
        node = self.states[index].get(request.path)
        if request.kind not in READS:
            return Reply(0, index)
        if node is None:
            return Reply(NO_NODE, index)
        value = node.value if request.kind == "get" else None
        children = node.children if request.kind == "children" else None
        return Reply(0, index, value, node.stat, None, children)


def rules(violations: list[Any]) -> set[str]:
    return {violation.rule for violation in violations}
