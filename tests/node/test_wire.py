"""Frames between peers: any bytes in any pieces are frames, need-more, or a PeerError; in linear time and bounded memory."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import PeerError
from loggos.base.limits import PEER_FRAME_BYTES_MAX
from loggos.node.wire import HEAD, FrameReader, Hello, Standing, Type, decode_hello, encode_hello, frame

frames = st.lists(st.tuples(st.sampled_from(list(Type)), st.binary(max_size=60)), max_size=8)


def joined(sent: list[tuple[Type, bytes]]) -> bytes:
    return b"".join(bytes(part) for kind, body in sent for part in frame(kind, body))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


class Read:
    """A reader and what it gave."""

    def __init__(self) -> None:
        self.frames: list[tuple[Type, bytes]] = []
        self.reader = FrameReader(lambda kind, body: self.frames.append((kind, body)))


@given(frames, st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_come_back_however_they_are_cut(sent: list[tuple[Type, bytes]], cuts: list[int]) -> None:
    read = Read()
    for piece in pieces(joined(sent), cuts):
        read.reader.feed(piece)
    assert read.frames == sent
    assert read.reader._held == 0


@given(frames, st.integers(1, 40))
def test_half_a_frame_is_waited_for(sent: list[tuple[Type, bytes]], missing: int) -> None:
    read = Read()
    last = joined([(Type.NOTE, b"x" * 40)])
    read.reader.feed(joined(sent) + last[:-missing])
    assert read.frames == sent
    read.reader.feed(last[-missing:])
    assert read.frames == [*sent, (Type.NOTE, b"x" * 40)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=10))
def test_any_bytes_in_any_pieces_give_frames_or_a_peer_error(data: bytes, cuts: list[int]) -> None:
    read = Read()
    try:
        for piece in pieces(data, cuts):
            read.reader.feed(piece)
    except PeerError:
        pass
    assert data.startswith(joined(read.frames)), "what was given was there"


@given(frames.filter(bool), st.data())
def test_one_flipped_bit_never_gives_another_frame(sent: list[tuple[Type, bytes]], data: st.DataObject) -> None:
    good = joined(sent)
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    read = Read()
    try:
        read.reader.feed(bytes(bad))
    except PeerError:
        pass
    assert read.frames == sent[: len(read.frames)] and len(read.frames) < len(sent)


@pytest.mark.parametrize("size", [0, 4, PEER_FRAME_BYTES_MAX + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused_before_it_is_held(size: int) -> None:
    with pytest.raises(PeerError, match="peer frame of"):
        Read().reader.feed(HEAD.pack(size, 0, Type.NOTE))


def test_an_unknown_type_is_refused() -> None:
    good = joined([(Type.NOTE, b"x")])
    from crc32c import crc32c

    crc = crc32c(b"x", crc32c(bytes((200,))))
    with pytest.raises(PeerError, match="unknown type 200"):
        Read().reader.feed(good + struct.pack(">IIB", 6, crc, 200) + b"x")


def test_a_large_frame_in_small_pieces_is_joined_once() -> None:
    """Linear: the reader looks at its pieces when they are whole, not at every feed."""
    data = joined([(Type.SNAPSHOT_CHUNK, bytes(4 << 20))])
    read = Read()
    joins = 0
    for start in range(0, len(data), 4096):
        before = len(read.reader._pieces)
        read.reader.feed(data[start : start + 4096])
        if len(read.reader._pieces) <= before:
            joins += 1
    assert read.frames == [(Type.SNAPSHOT_CHUNK, bytes(4 << 20))]
    assert joins <= 3


def test_memory_is_bounded_by_one_frame() -> None:
    read = Read()
    piece = bytes(1 << 20)
    read.reader.feed(HEAD.pack(PEER_FRAME_BYTES_MAX, 0, Type.NOTE))
    with pytest.raises(PeerError, match="checksum"):
        for _ in range(20):
            read.reader.feed(piece)
            assert read.reader._held <= PEER_FRAME_BYTES_MAX + len(piece)


def test_hello() -> None:
    hello = Hello(1, "orders", 2, 7, Standing.VIRGIN, [1, 2, 3], 9, "127.0.0.1:2181", (3, 5))
    assert decode_hello(encode_hello(hello)) == hello
    assert hello.known_levels == range(3, 6)
    old = decode_hello(b'{"protocol":1,"cell":"c","node":2,"incarnation":7,"standing":1,"voters":[1],"founding":9}')
    assert old.client == "" and not old.known_levels, "whatever it does not say, that it speaks another protocol is seen"
    for bad in (b"", b"{", b"[]", b'{"protocol": "x"}', b"\xff", encode_hello(hello)[:-1]):
        with pytest.raises(PeerError, match="hello"):
            decode_hello(bad)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_hello_or_a_peer_error(body: bytes) -> None:
    try:
        decode_hello(body)
    except PeerError:
        pass
