"""What the tests of the machine share: requests as clients encode them, and a driver that decodes what comes back.

Independent of the codec where it decodes: replies are read by the layout written down here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loggos.base.ids import Index, NodeId, SessionId, Stamps
from loggos.coordination.commands import (
    ExpireItem,
    Outcome,
    ReapItem,
    TreeEvent,
    encode_attach,
    encode_expire,
    encode_reap,
    encode_requests,
)
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import Acl
from loggos.node.levels import NEWEST_LEVEL

OPEN = (Acl(31, b"world", b"anyone"),)
PASSWORD = b"0123456789abcdef"


class Stat(NamedTuple):
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    data_length: int
    children: int
    pzxid: int


class Reply(NamedTuple):
    xid: int
    zxid: int
    error: int
    body: bytes


def parse_reply(frame: bytes) -> Reply:
    length, xid, zxid, error = struct.unpack_from(">iiqi", frame)
    assert length == len(frame) - 4, "the length of a reply frame is wrong"
    assert error == 0 or len(frame) == 20, "an error reply has no body"
    return Reply(xid, zxid, error, frame[20:])


def parse_stat(body: bytes) -> Stat:
    return Stat(*struct.unpack(">qqqqiiiqiiq", body))


def parse_string(body: bytes) -> tuple[bytes, bytes]:
    """A ustring, and what follows it."""
    (size,) = struct.unpack_from(">i", body)
    return body[4 : 4 + size], body[4 + size :]


def string(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def acl_bytes(acl: tuple[Acl, ...]) -> bytes:
    return struct.pack(">i", len(acl)) + b"".join(struct.pack(">i", a.perms) + string(a.scheme) + string(a.id) for a in acl)


# --- request bodies: (opcode, body), to be put in a frame or in a multi ---------------------------------------------------------

Request = tuple[int, bytes]


def create(path: bytes, data: bytes = b"", flags: int = 0, acl: tuple[Acl, ...] = OPEN, opcode: int = 1) -> Request:
    return opcode, string(path) + string(data) + acl_bytes(acl) + struct.pack(">i", flags)


def create2(path: bytes, data: bytes = b"", flags: int = 0, acl: tuple[Acl, ...] = OPEN) -> Request:
    return create(path, data, flags, acl, 15)


def create_container(path: bytes, data: bytes = b"", flags: int = 4, acl: tuple[Acl, ...] = OPEN) -> Request:
    return create(path, data, flags, acl, 19)


def delete(path: bytes, version: int = -1) -> Request:
    return 2, string(path) + struct.pack(">i", version)


def set_data(path: bytes, data: bytes = b"", version: int = -1) -> Request:
    return 5, string(path) + string(data) + struct.pack(">i", version)


def set_acl(path: bytes, acl: tuple[Acl, ...], version: int = -1) -> Request:
    return 7, string(path) + acl_bytes(acl) + struct.pack(">i", version)


def check(path: bytes, version: int = -1) -> Request:
    return 13, string(path) + struct.pack(">i", version)


def close() -> Request:
    return -11, b""


def auth(scheme: bytes, identity: bytes) -> Request:
    return 100, struct.pack(">i", 0) + string(scheme) + string(identity)


def multi(*parts: Request) -> Request:
    ops = b"".join(struct.pack(">i?i", opcode, False, -1) + body for opcode, body in parts)
    return 14, ops + struct.pack(">i?i", -1, True, -1)


def frame(xid: int, request: Request) -> bytes:
    opcode, body = request
    return struct.pack(">iii", 8 + len(body), xid, opcode) + body


def parse_multi(body: bytes) -> list[tuple[int, Any]]:
    """(opcode, result) of each part: an error code, a path, (path, Stat), a Stat, or None."""
    results: list[tuple[int, Any]] = []
    while True:
        opcode, done, error = struct.unpack_from(">i?i", body)
        body = body[9:]
        if done:
            assert (opcode, error, body) == (-1, -1, b""), "a multi's reply must end with its end mark"
            return results
        result: Any = None
        if opcode == -1:
            (result,) = struct.unpack_from(">i", body)
            assert result == error
            body = body[4:]
        elif opcode in (1, 15):
            result, body = parse_string(body)
            if opcode == 15:
                result, body = (result, parse_stat(body[:68])), body[68:]
        elif opcode == 5:
            result, body = parse_stat(body[:68]), body[68:]
        results.append((opcode, result))


@dataclass
class Client:
    """One session of a Driver."""

    driver: Driver
    session: SessionId
    generation: int
    sequence: int = 0
    xid: int = 0

    def command(self, *requests: Request) -> bytes:
        """The next command of this session; counts its sequence on."""
        first, frames = self.sequence + 1, []
        for request in requests:
            self.xid += 1
            frames.append(frame(self.xid, request))
        self.sequence += len(requests)
        return encode_requests(self.session, self.generation, first, frames)

    def run(self, *requests: Request) -> Outcome:
        return self.driver.apply(self.command(*requests))

    def ask(self, request: Request) -> Reply:
        """One request, its reply. The code of the outcome and that of the reply agree, except in a failed multi."""
        outcome = self.run(request)
        assert outcome.replies is not None and len(outcome.replies) == 1, outcome
        reply = parse_reply(outcome.replies[0])
        assert (reply.xid, reply.zxid) == (self.xid, self.driver.index)
        if request[0] != 14:
            assert outcome.codes == [reply.error]
        return reply

    def code(self, request: Request) -> int:
        return self.ask(request).error

    def stat(self, request: Request) -> Stat:
        reply = self.ask(request)
        assert reply.error == 0, reply
        return parse_stat(reply.body)

    def made(self, request: Request) -> bytes:
        """The path that a create gave."""
        reply = self.ask(request)
        assert reply.error == 0, reply
        return parse_string(reply.body)[0]

    def multi(self, *parts: Request) -> list[tuple[int, Any]]:
        reply = self.ask(multi(*parts))
        assert reply.error == 0, reply
        return parse_multi(reply.body)


@dataclass
class Driver:
    """Applies commands in order, as the registry does: counts the index and keeps every event."""

    machine: CoordinationMachine = field(default_factory=CoordinationMachine)
    index: int = 0
    wall_ms: int = 1_000_000
    events: list[TreeEvent] = field(default_factory=list)
    log: list[tuple[int, int, bytes]] = field(default_factory=list)

    def apply(self, command: bytes, answer: bool = True) -> Outcome:
        self.log.append((self.index + 1, self.wall_ms, command))
        outcome = self.machine.apply(self.index + 1, Stamps(self.wall_ms, 0, NEWEST_LEVEL), command, answer)
        assert len(outcome.marks) == len(outcome.codes), "each operation has its mark"
        self.index += len(outcome.codes)
        self.wall_ms += 7
        self.events = outcome.events
        return outcome

    def attach(
        self, session: int = 0, password: bytes = PASSWORD, timeout_ms: int = 4000, address: str = "10.1.2.3", node: int = 1
    ) -> Outcome:
        return self.apply(encode_attach(SessionId(session), NodeId(node), 99, timeout_ms, password, address))

    def client(self, address: str = "10.1.2.3") -> Client:
        attached = self.attach(address=address).attached
        assert attached is not None and attached.is_new and attached.session
        return Client(self, attached.session, attached.generation)

    def expire(self, *items: tuple[int, int]) -> Outcome:
        return self.apply(encode_expire([ExpireItem(SessionId(session), Index(seen)) for session, seen in items]))

    def reap(self, *items: tuple[bytes, int]) -> Outcome:
        """Paths and the pzxids that the leader saw."""
        return self.apply(encode_reap([ReapItem(path, pzxid) for path, pzxid in items]))

    def kinds(self) -> list[tuple[int, bytes]]:
        """Kind and path of the last command's events."""
        assert all(event.index <= self.index for event in self.events)
        return [(event.kind, event.path) for event in self.events]

    def stat_of(self, path: bytes) -> Stat:
        from loggos.coordination.tree import encode_stat

        return parse_stat(encode_stat(self.machine.tree.nodes[path]))


__all__ = ["codec", "Acl", "Client", "Driver", "Stat"]
