"""The log as the nodes applied it: the first node to apply a command writes it down, every other one is compared with
it.

A command is decoded here on its own (not by the machine's code) into the checkers' values. A client's xid numbers its
operation, so entries are matched exactly. Nodes that differ in anything at the same index are a violation by
themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from loggos.base.errors import FrameError
from loggos.base.ids import Index, Stamps
from loggos.check.history import ATTACH, OK, REAP, Applied, Request, Violation
from loggos.coordination import commands
from loggos.coordination.commands import Outcome
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, REQUEST_HEAD, Reader
from loggos.node.registry import PlainWay, Registry

DIFFERENCES_MAX = 20
RECENT_MAX = 48  # commands of clients that an echo may bring again


def decode_request(opcode: int, reader: Reader) -> Request:
    """A write request's body as the checkers' value; kind "other" for what the workload does not send."""
    if opcode in (codec.OP_CREATE, codec.OP_CREATE2, codec.OP_CREATE_CONTAINER):
        path, data = reader.buffer().decode(), reader.buffer()
        reader.acl()
        flags = reader.int32()
        is_container = opcode == codec.OP_CREATE_CONTAINER
        return Request("create", path, data, ephemeral=bool(flags & 1), sequential=bool(flags & 2), container=is_container)
    if opcode == codec.OP_DELETE:
        return Request("delete", reader.buffer().decode(), version=reader.int32())
    if opcode == codec.OP_SET_DATA:
        return Request("set", reader.buffer().decode(), reader.buffer(), version=reader.int32())
    if opcode == codec.OP_CHECK:
        return Request("check", reader.buffer().decode(), version=reader.int32())
    if opcode == codec.OP_CLOSE_SESSION:
        return Request("close")
    if opcode == codec.OP_MULTI:
        return Request("multi", parts=tuple(_decode_parts(reader)))
    return Request("other")


def _decode_parts(reader: Reader) -> list[Request]:
    parts: list[Request] = []
    while True:
        opcode, done, _ = reader.int32(), reader.boolean(), reader.int32()
        if done:
            return parts
        parts.append(decode_request(opcode, reader))


class LogRecorder:
    """One per run. `applied` is called for every command on every node; `on_answer` for the node that applies a command before
    all others, and owes its client the answer."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.on_answer: Callable[[int], None] = lambda node: None
        self.log: list[Applied] = []
        self.differences: list[Violation] = []
        self._first: dict[int, tuple[bytes, tuple[int, ...]]] = {}  # by first index
        self._newest = (0, Index(0))  # the node that was the first to apply something, and at which index
        self.last = 0
        self.recent: deque[bytes] = deque(maxlen=RECENT_MAX)  # clients' commands

    def applied(self, node: int, first: Index, command: bytes, outcome: Outcome) -> None:
        if not outcome.codes:
            return
        seen = self._first.get(first)
        codes = tuple(outcome.codes)
        if seen is not None:
            if seen != (command, codes) and len(self.differences) < DIFFERENCES_MAX:
                self.differences.append(Violation("agreement", f"node {node} applied something else at {first} than another"))
            return
        self._first[first] = (command, codes)
        if first != self.last + 1:
            self.differences.append(Violation("gap", f"node {node} applied {first} before anybody applied {self.last + 1}"))
        self.last = first + len(codes) - 1
        self._newest = (node, first)
        self.log.extend(self._entries(first, command, outcome))
        if outcome.replies:
            self.on_answer(node)

    def owes(self, node: int, index: Index) -> None:
        """A node owes a client the answer of what it applied at `index`, in a machine's short way."""
        if self._newest == (node, index):
            self.on_answer(node)

    def _entries(self, first: Index, command: bytes, outcome: Outcome) -> list[Applied]:
        kind = command[0]
        if kind == commands.REQUESTS:
            self.recent.append(command)
            return self._request_entries(first, command, outcome)
        if kind == commands.EXPIRE:
            return self._expire_entries(first, command, outcome)
        if kind == commands.REAP:
            return self._reap_entries(first, command, outcome)
        return [Applied(first, outcome.session, Request(ATTACH), OK, 0, self._now())]

    def _request_entries(self, first: Index, command: bytes, outcome: Outcome) -> list[Applied]:
        _, session, _, first_sequence, count = commands.REQUESTS_HEADER.unpack_from(command)
        skipped = outcome.first_sequence - first_sequence  # repeats
        assert count - skipped == len(outcome.codes), (count, skipped, outcome)
        entries, at = [], commands.REQUESTS_HEADER.size
        for number in range(count):
            length, xid, opcode = REQUEST_HEAD.unpack_from(command, at)
            end = at + INT32.size + length
            if number >= skipped:
                position = number - skipped
                try:
                    request = decode_request(opcode, Reader(command, at + REQUEST_HEAD.size, end))
                except FrameError:
                    request = Request("other")
                index = first + position
                entries.append(Applied(index, session, request, outcome.codes[position], xid, self._now()))
            at = end
        return entries

    def _expire_entries(self, first: Index, command: bytes, outcome: Outcome) -> list[Applied]:
        """One entry per session that ended; one that had acted since took no index."""
        _, count = commands.EXPIRE_HEADER.unpack_from(command)
        at, size = commands.EXPIRE_HEADER.size, commands.EXPIRE_ITEM.size
        items = [commands.EXPIRE_ITEM.unpack_from(command, at + number * size) for number in range(count)]
        last_seen = dict(items)
        ended = zip(outcome.ended, outcome.codes, strict=True)
        return [
            Applied(first + number, session, Request("expire"), code, 0, self._now(), last_seen[session])
            for number, (session, code) in enumerate(ended)
        ]

    def _reap_entries(self, first: Index, command: bytes, outcome: Outcome) -> list[Applied]:
        """One entry per container that was deleted; which ones, the events say."""
        pzxids = dict(commands.decode_reap(command))
        deleted = [event.path for event in outcome.events]
        return [
            Applied(first + number, 0, Request(REAP, path.decode(), version=pzxids[path]), code, 0, self._now())
            for number, (path, code) in enumerate(zip(deleted, outcome.codes, strict=True))
        ]


def plain_outcome(batch: bytes, at: int) -> Outcome:
    """What a command that was applied in the machine's short way did."""
    _, session, generation, first_sequence, _ = commands.REQUESTS_HEADER.unpack_from(batch, at)
    return Outcome([OK], session, generation, first_sequence)


def recording_registry(base: type[Registry], node: int, recorder: LogRecorder) -> type[Registry]:
    """A registry type that tells the recorder what `node` applies."""

    class RecordingRegistry(base):  # type: ignore[valid-type,misc]
        def outcome_of(self, machine_id: int, command: bytes, outcome: Any, first: Index) -> None:
            recorder.applied(node, first, command, outcome)
            super().outcome_of(machine_id, command, outcome, first)

        def plain_way(self, machine_id: int) -> PlainWay | None:
            way: PlainWay | None = super().plain_way(machine_id)
            if way is None:
                return None

            def recorded(batch: bytes, at: int, end: int, index: Index, stamps: Stamps) -> tuple[Any, ...] | None:
                plain = way(batch, at, end, index, stamps)
                if plain is not None:
                    recorder.applied(node, index, batch[at:end], plain_outcome(batch, at))
                return plain

            return recorded

        def plain_outcome_of(self, machine_id: int, index: Index, plain: object) -> None:
            recorder.owes(node, index)
            super().plain_outcome_of(machine_id, index, plain)

    return RecordingRegistry
