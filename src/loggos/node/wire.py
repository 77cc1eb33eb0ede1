"""The peer protocol: frames between the nodes of a cell. Sans-IO.

    frame   length u32 (of what follows), crc32c u32 (over type and body), type u8, body

    HELLO            JSON; first on each connection, from the dialler, and again when it changes
    MESSAGE          a consensus message (consensus/codec.py)
    FORWARD          epoch u16, then runs (batch.py) for the leader to propose
    REFUSED          epoch u16: runs forwarded under it were not taken
    NOTE             machine u8, then bytes from one service to its twin
    DIGEST           slot i64, rolling digest u32
    FULL_DIGEST      slot i64, digest u64 of the whole state
    SNAPSHOT_BEGIN   slot i64, then the snapshot's meta
    SNAPSHOT_CHUNK   slot i64, number u32, then a chunk
    SNAPSHOT_END     slot i64, chunks u32
    SNAPSHOT_ACK     slot i64, chunks taken u32; the last one says that it is installed; SNAPSHOT_REFUSED: it is not wanted now

A length over PEER_FRAME_BYTES_MAX, a wrong checksum or an unknown type is a PeerError: the connection is closed, and that is all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

import msgspec
from crc32c import crc32c

from loggos.base.errors import PeerError
from loggos.base.limits import PEER_FRAME_BYTES_MAX
from loggos.base.ports import Buffer
from loggos.node.levels import NO_LEVELS

HEAD: Final = struct.Struct(">IIB")
SLOT: Final = struct.Struct(">q")
DIGEST: Final = struct.Struct(">qI")
FULL_DIGEST: Final = struct.Struct(">qQ")
CHUNK: Final = struct.Struct(">qI")
SNAPSHOT_REFUSED: Final = 0xFFFFFFFF
EPOCH: Final = struct.Struct(">H")


class Type(IntEnum):
    HELLO = 1
    MESSAGE = 2
    FORWARD = 3
    REFUSED = 4
    NOTE = 5
    DIGEST = 6
    SNAPSHOT_BEGIN = 7
    SNAPSHOT_CHUNK = 8
    SNAPSHOT_END = 9
    SNAPSHOT_ACK = 10
    FULL_DIGEST = 11


class Standing(IntEnum):
    """How far a node's data directory has come (first start, docs/ARCHITECTURE.md)."""

    EMPTY = 0  # no identity: never started, or lost
    VIRGIN = 1  # an identity, and nothing promised or accepted yet
    ESTABLISHED = 2
    LOST = 3  # no identity, and it had one: not empty, so nobody may begin a cell over it


class Hello(msgspec.Struct, frozen=True):
    """Who dials. Sent first, and again whenever it changes."""

    protocol: int
    cell: str
    node: int
    incarnation: int  # 0 while EMPTY
    standing: int
    voters: list[int]
    founding: int  # of the cell (storage/identity.py); 0 while EMPTY or LOST
    client: str = ""  # where clients reach it, for who asks after the whole cell; "": it does not say
    levels: tuple[int, int] = (0, 0)  # feature levels that it knows, both included (levels.py); zeros until it runs

    @property
    def known_levels(self) -> range:
        oldest, newest = self.levels
        return range(oldest, newest + 1) if oldest else NO_LEVELS


PROTOCOL: Final = 7
_hello_decoder = msgspec.json.Decoder(Hello)


def frame(kind: IntEnum, *body: Buffer) -> list[Buffer]:
    """One frame as buffers to be written in order."""
    crc = crc32c(bytes((kind,)))
    size = 1 + 4
    for part in body:
        crc = crc32c(part, crc)
        size += len(part)
    return [HEAD.pack(size, crc, kind), *body]


def encode_hello(hello: Hello) -> bytes:
    return msgspec.json.encode(hello)


def decode_hello(body: Buffer) -> Hello:
    try:
        return _hello_decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise PeerError(f"a hello that cannot be read: {error}") from None


class FrameReader:
    """Bytes in any pieces → whole, verified frames, handed to `sink(kind, body)`; the body is its own bytes object. `types`: the
    frames of the protocol."""

    def __init__(self, sink: Callable[[Any, bytes], None], types: type[IntEnum] = Type) -> None:
        self._sink, self._types = sink, types
        self._pieces: list[bytes] = []
        self._held = 0
        self._wanted = HEAD.size

    def feed(self, data: bytes) -> None:
        """Linear in the bytes fed: pieces are joined only when a frame is whole."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._wanted:
            return
        buffer = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        offset, end = 0, len(buffer)
        self._wanted = HEAD.size
        while end - offset >= HEAD.size:
            size, crc, kind = HEAD.unpack_from(buffer, offset)
            if not 5 <= size <= PEER_FRAME_BYTES_MAX:
                raise PeerError(f"a peer frame of {size} bytes; the limit is {PEER_FRAME_BYTES_MAX}")
            if end - offset < size + 4:
                self._wanted = size + 4
                break
            body = buffer[offset + HEAD.size : offset + size + 4]
            if crc32c(body, crc32c(bytes((kind,)))) != crc:
                raise PeerError(f"a peer frame of {size} bytes fails its checksum")
            offset += size + 4
            try:
                known = self._types(kind)
            except ValueError:
                raise PeerError(f"a peer frame of unknown type {kind}: run one version on all nodes") from None
            self._sink(known, body)
        self._pieces = [buffer[offset:]] if offset < end else []
        self._held = end - offset
