"""What the cell's process and a process that follows its log say to each other. Sans-IO.

Frames are those of the peer protocol (node/wire.py) with types of their own. The remote opens and asks:

    OPEN       JSON; first, once: version, cell, machine, name, does it want the state, does it want replies
    PROPOSE    epoch u32 (BEGINs and INTERRUPTEDs seen on this connection), then runs (node/batch.py; their origin and epoch do
               not count)
    BARRIER    context u32
    TELL       node u8, then a note for the twins of this service there

The cell answers and tells, all in log order on one stream:

    WELCOME    JSON: version, connection number, node, credit in bytes
    BEGIN      index i64, wall_ms i64, cell_ms i64, level u8: the machine's state as of this index follows
    CHUNK      a slice of it; batches and news may come in between, and count only after END
    END        -
    BATCH      wall_ms i64, cell_ms i64, level u8, index i64, done u8, then items; without `done` more of the same batch follows
    item       owner u32 (the connection that proposed it, 0: another), machine u8, index i64 (of its last operation),
               operations u32, command length u32, outcome length u32, command, outcome. An item of another machine is an event:
               its command stays away
    INTERRUPTED  -
    LEADER     leader u8, is this node u8, cell_ms i64
    NOTE       sender u8, then the note
    BARRIER_DONE context u32, index i64 (-1: not learned in time)
    REFUSED    text: why the connection is closed
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from loggos.base.errors import PeerError
from loggos.base.ids import Index, Stamps
from loggos.base.ports import Buffer

PROTOCOL: Final = 2
EPOCH: Final = struct.Struct(">I")
CONTEXT: Final = struct.Struct(">I")
PLACE: Final = struct.Struct(">qqqB")  # index, wall_ms, cell_ms, level
BATCH_HEAD: Final = struct.Struct(">qqBqB")  # wall_ms, cell_ms, level, index, done
ITEM_HEAD: Final = struct.Struct(">IBqIII")  # owner, machine, index, operations, command length, outcome length
LEADER: Final = struct.Struct(">BBq")
GRANT: Final = struct.Struct(">Iq")


class Type(IntEnum):
    OPEN = 1
    PROPOSE = 2
    BARRIER = 3
    TELL = 4
    WELCOME = 16
    BEGIN = 17
    CHUNK = 18
    END = 19
    BATCH = 20
    INTERRUPTED = 21
    LEADER = 22
    NOTE = 23
    BARRIER_DONE = 24
    REFUSED = 25


class Open(msgspec.Struct, frozen=True):
    """Who follows, and what it wants."""

    protocol: int
    cell: str
    machine: int
    name: str  # for people
    state: bool  # a snapshot of the machine first
    replies: bool  # the machine encodes replies for what this process proposed


class Welcome(msgspec.Struct, frozen=True):
    protocol: int
    connection: int  # from 1
    node: int
    credit_bytes: int  # what this process may have proposed and not yet seen applied


class OutcomeCodec(Protocol):
    """How one machine's outcomes cross; given by its service. `decode(encode(x, True))` has x's codes, and what followers use;
    without `replies` it has none, as if nobody had waited for them."""

    def encode(self, outcome: Any, replies: bool) -> bytes: ...

    def decode(self, data: bytes) -> Any: ...


class Item(NamedTuple):
    """One applied command."""

    owner: int
    machine: int
    last: Index  # of its operations
    operations: int
    command: bytes
    outcome: bytes


class Batch(NamedTuple):
    stamps: Stamps
    applied: Index  # as far as the log is, after it
    is_done: bool
    items: list[Item]


S = TypeVar("S", Open, Welcome)


def decode_greeting(body: bytes, kind: type[S]) -> S:
    """The JSON of an OPEN or WELCOME. PeerError: it cannot be read, or is of another version."""
    try:
        greeting = msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise PeerError(f"a greeting that cannot be read: {error}") from None
    if greeting.protocol != PROTOCOL:
        raise PeerError(f"the other process speaks log protocol {greeting.protocol}, this one {PROTOCOL}: run one version")
    return greeting


def encode_item(item: Item) -> list[Buffer]:
    head = ITEM_HEAD.pack(item.owner, item.machine, item.last, item.operations, len(item.command), len(item.outcome))
    return [head, item.command, item.outcome]


def encode_batch_head(stamps: Stamps, index: Index, is_done: bool) -> bytes:
    return BATCH_HEAD.pack(*stamps, index, is_done)


def decode_batch(body: bytes) -> Batch:
    wall_ms, cell_ms, level, index, done = unpack(BATCH_HEAD, body)
    return Batch(Stamps(wall_ms, cell_ms, level), Index(index), bool(done), list(_items(body, BATCH_HEAD.size)))


def _items(body: bytes, offset: int) -> Iterator[Item]:
    end = len(body)
    while offset < end:
        owner, machine, index, operations, command_size, outcome_size = unpack(ITEM_HEAD, body, offset)
        offset += ITEM_HEAD.size
        middle = offset + command_size
        if middle + outcome_size > end:
            raise PeerError(f"an item of {command_size} and {outcome_size} bytes passes its frame's end")
        yield Item(owner, machine, Index(index), operations, body[offset:middle], body[middle : middle + outcome_size])
        offset = middle + outcome_size


def unpack(form: struct.Struct, body: bytes, offset: int = 0) -> tuple[Any, ...]:
    """PeerError where `struct` would raise its own."""
    if len(body) - offset < form.size:
        raise PeerError(f"a frame of {len(body)} bytes ends inside a field at byte {offset}")
    return form.unpack_from(body, offset)


def size_of(buffers: Iterable[Buffer]) -> int:
    return sum(len(buffer) for buffer in buffers)
