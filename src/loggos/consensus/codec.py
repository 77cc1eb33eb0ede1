"""Bytes for every message, entry and membership of consensus: what peers send and what the journal and snapshots keep.

All integers are big-endian. A message is its kind (u8) and then the fields of its struct in the order of types.py;
messages with entries end with a count (u32) and the entries: slot, ballot, origin (i64 each), kind (u8), payload length
(u32), payload. Every length is checked against the bytes that are there before anything is allocated; whatever is not
exactly one well-formed message raises PeerError, in linear time. A payload is copied once each way. Knows nothing of what
the messages mean.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from loggos.base.errors import PeerError
from loggos.base.ids import NODE_ID_MAX, Ballot, Incarnation, NodeId, Slot
from loggos.consensus.types import (
    Accept,
    Accepted,
    Entry,
    Fetch,
    Heartbeat,
    HeartbeatReply,
    Kind,
    Learn,
    Member,
    Membership,
    Message,
    Nack,
    Prepare,
    PreVote,
    PreVoteReply,
    Promise,
    ReadAsk,
    ReadGrant,
    Rejoin,
    Resign,
    SnapshotOffer,
)

Parts = list[bytes]

ENTRY_HEADER: Final = struct.Struct(">qqqBI")
_COUNT: Final = struct.Struct(">I")
_KINDS: Final = {int(kind): kind for kind in Kind}
_REJOIN: Final = struct.Struct(">BQ")
_MEMBERSHIP: Final = struct.Struct(">BBB")
_VOTER: Final = struct.Struct(">BQq")
_LEARNER: Final = struct.Struct(">BQ")
_MEMBERSHIP_VERSION: Final = 1

# kind on the wire -> (type, struct of its plain fields, position of `entries` or None, are slots consecutive)
_LAYOUT: Final[dict[int, tuple[Any, struct.Struct, int | None, bool]]] = {
    1: (PreVote, struct.Struct(">qq"), None, False),
    2: (PreVoteReply, struct.Struct(">q?qBq"), None, False),
    3: (Prepare, struct.Struct(">qq"), None, False),
    4: (Promise, struct.Struct(">qqqqqq"), 2, False),
    5: (Accept, struct.Struct(">qq"), 1, True),
    6: (Accepted, struct.Struct(">qqqq"), None, False),
    7: (Nack, struct.Struct(">qq"), None, False),
    8: (Heartbeat, struct.Struct(">qqq?"), None, False),
    9: (HeartbeatReply, struct.Struct(">qqqq?"), None, False),
    10: (Fetch, struct.Struct(">q"), None, False),
    11: (Learn, struct.Struct(">q"), 0, True),
    12: (ReadAsk, struct.Struct(">q"), None, False),
    13: (ReadGrant, struct.Struct(">qq"), None, False),
    14: (SnapshotOffer, struct.Struct(">qq"), None, False),
    15: (Resign, struct.Struct(">q"), None, False),
}
_WIRE_KIND: Final[dict[type, int]] = {layout[0]: kind for kind, layout in _LAYOUT.items()}
# where the boolean of a PreVoteReply, a Heartbeat and its reply stands: only 0 and 1 are one
_BOOLEAN_AT: Final = {2: 9, 8: 25, 9: 33}
_READ_GRANT: Final = 13  # the one message with a field that may be negative: slot -1


# --- entries -------------------------------------------------------------------------------------------------------------


def encode_entry_header(entry: Entry) -> bytes:
    """What stands before an entry's payload."""
    return ENTRY_HEADER.pack(entry.slot, entry.ballot, entry.origin, entry.kind, len(entry.payload))


def decode_entry(view: memoryview, offset: int) -> tuple[Entry, int]:
    """The entry at `offset` and the offset after it. PeerError if it is not all there or not an entry."""
    body = offset + ENTRY_HEADER.size
    if body > len(view):
        raise PeerError("an entry's header is cut off")
    slot, ballot, origin, kind, size = ENTRY_HEADER.unpack_from(view, offset)
    end = body + size
    if end > len(view):
        raise PeerError(f"an entry claims {size} bytes and {len(view) - body} are there")
    if slot <= 0 or origin <= 0 or ballot < origin or kind not in _KINDS or (size and kind == Kind.NOOP):
        raise PeerError("an entry with impossible fields")
    return Entry(Slot(slot), Ballot(ballot), Ballot(origin), _KINDS[kind], bytes(view[body:end])), end


def _decode_entries(view: memoryview, offset: int, consecutive: bool) -> tuple[Entry, ...]:
    if offset + _COUNT.size > len(view):
        raise PeerError("a message's count of entries is cut off")
    (count,) = _COUNT.unpack_from(view, offset)
    offset += _COUNT.size
    if count * ENTRY_HEADER.size > len(view) - offset:
        raise PeerError(f"a message claims {count} entries and cannot hold them")
    entries: list[Entry] = []
    for _ in range(count):
        entry, offset = decode_entry(view, offset)
        entries.append(entry)
    if offset != len(view):
        raise PeerError("bytes after a message's last entry")
    for before, after in pairwise(entries):
        if after.slot <= before.slot or (consecutive and after.slot != before.slot + 1):
            raise PeerError("entries out of order")
    return tuple(entries)


# --- messages ------------------------------------------------------------------------------------------------------------


def encode_parts(message: Message) -> Parts:
    """The message as buffers to be written one after another; payloads are not copied."""
    kind = _WIRE_KIND[type(message)]
    _, layout, position, _ = _LAYOUT[kind]
    if position is None:
        return [bytes((kind,)) + layout.pack(*message)]
    fields = message[:position] + message[position + 1 :]
    entries: tuple[Entry, ...] = message[position]  # type: ignore[assignment]
    parts = [bytes((kind,)) + layout.pack(*fields) + _COUNT.pack(len(entries))]
    for entry in entries:
        parts.append(ENTRY_HEADER.pack(entry.slot, entry.ballot, entry.origin, entry.kind, len(entry.payload)))
        parts.append(entry.payload)
    return parts


def encode_message(message: Message) -> bytes:
    """The message as one buffer."""
    parts = encode_parts(message)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decode_message(buffer: bytes | bytearray | memoryview) -> Message:
    """The message that is exactly these bytes, or PeerError."""
    view = memoryview(buffer)
    layout = _LAYOUT.get(view[0]) if len(view) else None
    if layout is None:
        raise PeerError("no message of consensus begins like this")
    make, fields, position, consecutive = layout
    end = 1 + fields.size
    if end > len(view) or (position is None and end != len(view)):
        raise PeerError(f"a {make.__name__} of {len(view)} bytes")
    values = fields.unpack_from(view, 1)
    if view[0] != _READ_GRANT and min(values) < 0:
        raise PeerError(f"a {make.__name__} with a negative field")
    if view[0] in _BOOLEAN_AT and view[_BOOLEAN_AT[view[0]]] > 1:
        raise PeerError(f"a {make.__name__} that says neither yes nor no")
    message: Message
    if position is None:
        message = make._make(values)
    else:
        entries = _decode_entries(view, end, consecutive)
        message = make._make((*values[:position], entries, *values[position:]))
    check = _CHECKS.get(make)
    if check is not None and not check(message):
        raise PeerError(f"a {make.__name__} that contradicts itself")
    return message


def _promise_is_whole(message: Promise) -> bool:
    if message.upto and message.upto < message.first:
        return False
    return all(entry.slot >= message.first and (not message.upto or entry.slot <= message.upto) for entry in message.entries)


_CHECKS: Final[dict[type, Callable[[Any], bool]]] = {
    Promise: _promise_is_whole,
    Accept: lambda message: all(entry.ballot == message.ballot for entry in message.entries),
    Accepted: lambda message: 0 < message.first <= message.last,
    Learn: lambda message: not message.entries or message.entries[-1].slot <= message.chosen,
    Fetch: lambda message: message.first > 0,
    ReadGrant: lambda message: message.slot >= -1,
}


# --- membership ----------------------------------------------------------------------------------------------------------


def encode_rejoin(rejoin: Rejoin) -> bytes:
    """The payload of a CONFIG entry."""
    return _REJOIN.pack(rejoin.node, rejoin.incarnation)


def decode_rejoin(payload: bytes) -> Rejoin:
    """PeerError if the payload is no Rejoin."""
    if len(payload) != _REJOIN.size:
        raise PeerError(f"a configuration entry of {len(payload)} bytes")
    node, incarnation = _REJOIN.unpack(payload)
    return Rejoin(NodeId(node), Incarnation(incarnation))


def encode_membership(membership: Membership) -> bytes:
    """Part of every snapshot. Nodes in ascending order, so equal memberships have equal bytes."""
    parts = [_MEMBERSHIP.pack(_MEMBERSHIP_VERSION, len(membership.voters), len(membership.learners))]
    parts += [_VOTER.pack(node, *membership.voters[node]) for node in sorted(membership.voters)]
    parts += [_LEARNER.pack(node, membership.learners[node]) for node in sorted(membership.learners)]
    return b"".join(parts)


def decode_membership(buffer: bytes | bytearray | memoryview) -> Membership:
    """PeerError if the bytes are no membership of this version."""
    view = memoryview(buffer)
    if len(view) < _MEMBERSHIP.size:
        raise PeerError("a membership is cut off")
    version, voters_count, learners_count = _MEMBERSHIP.unpack_from(view)
    size = _MEMBERSHIP.size + voters_count * _VOTER.size + learners_count * _LEARNER.size
    if version != _MEMBERSHIP_VERSION or len(view) != size:
        raise PeerError(f"a membership of version {version} and {len(view)} bytes")
    split = _MEMBERSHIP.size + voters_count * _VOTER.size
    voters = {
        NodeId(node): Member(Incarnation(incarnation), Slot(vouches_from))
        for node, incarnation, vouches_from in _VOTER.iter_unpack(view[_MEMBERSHIP.size : split])
    }
    learners = {NodeId(node): Incarnation(incarnation) for node, incarnation in _LEARNER.iter_unpack(view[split:])}
    nodes = [*voters, *learners]
    if len(set(nodes)) != voters_count + learners_count or any(not 0 < node <= NODE_ID_MAX for node in nodes):
        raise PeerError("a membership that names a node twice, or node 0")
    return Membership(voters, learners)
