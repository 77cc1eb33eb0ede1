"""What the log carries for coordination, and what applying it gives back.

A command is bytes, first byte its kind. REQUESTS is the hot one: a run of consecutive write requests of one session, **the
client's own frames verbatim** (int32 length, xid, opcode, body: zookeeper/codec.py), so a door copies bytes and every node parses
them once, at apply. Integers are big-endian. The fields of a header:

    REQUESTS  kind u8, session i64, generation i64, first sequence i64, count u32, then `count` frames
    ATTACH    kind u8, session i64 (0: a new one), node u8, nonce i64, timeout_ms i32, password 16 bytes, address length u8,
              address (ASCII ip)
    EXPIRE    kind u8, count u32, then (session i64, last_seen index i64) each
    REAP      kind u8, count u32, then (pzxid i64, path length u16, path) each: containers that were left empty

`generation` counts the connections of a session; `sequence` counts its commands within one generation, from 1 (rule 11). The
door has rewritten an auth request (opcode 100) so that the log holds an id (scheme, "user:hash"), never a password.
Pure: no clock, no I/O.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from loggos.base.errors import FrameError
from loggos.base.ids import Index, NodeId, SessionId
from loggos.coordination.acl import OPEN_ACL, AclList

MACHINE_ID: Final = 1

REQUESTS: Final = 1
ATTACH: Final = 2
EXPIRE: Final = 3
REAP: Final = 4

REQUESTS_HEADER: Final = struct.Struct(">BqqqI")
ATTACH_HEADER: Final = struct.Struct(">BqBqi16sB")
EXPIRE_HEADER: Final = struct.Struct(">BI")
EXPIRE_ITEM: Final = struct.Struct(">qq")
REAP_HEADER: Final = struct.Struct(">BI")
REAP_ITEM: Final = struct.Struct(">qH")

NO_SESSION: Final = SessionId(0)

# kinds of tree event; the wire's watch event types
CREATED: Final = 1
DELETED: Final = 2
CHANGED: Final = 3


class TreeEvent(NamedTuple):
    """A change of one node. The change of its parent's children is implied by CREATED and DELETED."""

    position: int  # which operation of the command caused it: its reply must follow the event
    kind: int
    path: bytes
    index: Index  # type: ignore[assignment]  # the zxid of the change (hides tuple.index, which nobody asks a change for)
    acl: AclList = OPEN_ACL  # the node's; who may not read it is not told of the change
    parent_acl: AclList = OPEN_ACL  # CREATED and DELETED: the parent's, for the change of its children


class Attached(NamedTuple):
    """The answer to ATTACH. `session` 0: unknown, expired, or a wrong password."""

    node: NodeId
    nonce: int
    session: SessionId
    generation: int
    timeout_ms: int
    password: bytes
    is_new: bool


class Outcome:
    """What one command did. `codes` has one error code (0: done) per operation, each of which took one index. `marks` has what
    nodes compare of it: a number per operation, made of what it left. One is made per command of every client on every node, so
    it is as plain as can be."""

    __slots__ = (
        "attached", "codes", "ended", "events", "first_sequence", "generation", "marks", "refused", "replies", "session",
    )  # fmt: skip

    def __init__(
        self,
        codes: list[int],
        session: SessionId = NO_SESSION,
        generation: int = 0,
        first_sequence: int = 0,
        *,
        refused: int = 0,
        attached: Attached | None = None,
    ) -> None:
        self.codes = codes
        self.marks = codes  # unless there is more to tell
        self.session = session  # REQUESTS and ATTACH: whose
        self.generation = generation
        self.first_sequence = first_sequence  # REQUESTS: of the first operation that was applied (repeats are skipped)
        # nothing was applied, and why: -118 other generation or a gap in the sequence, -112 no session; -5, -6: no command
        self.refused = refused
        self.attached = attached
        self.events: list[TreeEvent] | tuple[()] = ()
        self.ended: list[SessionId] | tuple[()] = ()  # sessions that this command closed or expired
        # REQUESTS applied with answer=True: whole reply frames, one per operation, in order
        self.replies: list[bytes] | None = None


class ExpireItem(NamedTuple):
    session: SessionId
    last_seen: Index  # of the session's last applied command, as the leader saw it; expiry fails if it has moved since (rule 13)


class ReapItem(NamedTuple):
    path: bytes
    pzxid: int  # of the container as the leader saw it; it stays if a child came since, even if that has gone again


def encode_requests(session: SessionId, generation: int, first_sequence: int, frames: list[bytes]) -> bytes:
    return REQUESTS_HEADER.pack(REQUESTS, session, generation, first_sequence, len(frames)) + b"".join(frames)


def encode_run(session: SessionId, generation: int, first_sequence: int, count: int, chunks: list[bytes]) -> bytes:
    """The same for `count` frames that lie one after another in `chunks`, as they came from a client."""
    return b"".join((REQUESTS_HEADER.pack(REQUESTS, session, generation, first_sequence, count), *chunks))


def encode_lone(session: SessionId, generation: int, sequence: int, frame: bytes) -> bytes:
    """The same for one frame."""
    return REQUESTS_HEADER.pack(REQUESTS, session, generation, sequence, 1) + frame


def encode_attach(session: SessionId, node: NodeId, nonce: int, timeout_ms: int, password: bytes, address: str) -> bytes:
    """`password`: for an old session the one the client showed; for a new one 16 fresh random bytes, which it then has."""
    ip = address.encode("ascii", "replace")[:255]
    return ATTACH_HEADER.pack(ATTACH, session, node, nonce, timeout_ms, password, len(ip)) + ip


def encode_expire(items: list[ExpireItem]) -> bytes:
    return EXPIRE_HEADER.pack(EXPIRE, len(items)) + b"".join([EXPIRE_ITEM.pack(*item) for item in items])


def encode_reap(items: list[ReapItem]) -> bytes:
    parts = [REAP_ITEM.pack(item.pzxid, len(item.path)) + item.path for item in items]
    return REAP_HEADER.pack(REAP, len(items)) + b"".join(parts)


def decode_reap(command: bytes) -> list[ReapItem]:
    """FrameError: it is cut short."""
    try:
        _, count = REAP_HEADER.unpack_from(command)
        at, items = REAP_HEADER.size, []
        for _ in range(count):
            pzxid, length = REAP_ITEM.unpack_from(command, at)
            at += REAP_ITEM.size + length
            items.append(ReapItem(command[at - length : at], pzxid))
    except struct.error as error:
        raise FrameError(f"a REAP that is cut short: {error}") from error
    if at > len(command):
        raise FrameError(f"a REAP that is cut short in its last path, {at - len(command)} bytes are missing")
    return items
