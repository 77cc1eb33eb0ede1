"""The wire format: exact bytes both ways, and any bytes give a value, need-more or FrameError."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import FrameError
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import Acl, Reader


def test_a_reply_is_length_xid_zxid_error_and_body() -> None:
    assert codec.encode_reply(7, 9, 0, b"body") == bytes.fromhex("00000014 00000007 0000000000000009 00000000") + b"body"
    assert codec.encode_reply(-4, 1, -101) == bytes.fromhex("00000010 fffffffc 0000000000000001 ffffff9b")


def test_an_event_is_a_reply_with_xid_minus_one() -> None:
    expected = bytes.fromhex("0000001e ffffffff 0000000000000005 00000000 00000003 00000003 00000002") + b"/a"
    assert codec.encode_event(codec.EVENT_DATA_CHANGED, b"/a", 5) == expected


@pytest.mark.parametrize(("read_only", "length"), [(None, 36), (False, 37), (True, 37)])
def test_the_connect_reply_holds_read_only_only_for_those_who_sent_it(read_only: bool | None, length: int) -> None:
    frame = codec.encode_connect_reply(4000, 0x1_0000_0001, b"p" * 16, read_only)
    assert struct.unpack_from(">iiiqi16s", frame) == (length, 0, 4000, 0x1_0000_0001, 16, b"p" * 16)
    assert len(frame) == 4 + length
    assert frame[40:] == (b"" if read_only is None else bytes([read_only]))


def test_the_connect_request_is_read_with_and_without_read_only() -> None:
    old = struct.pack(">iqiqi16s", 0, 12, 30_000, -5, 16, b"q" * 16)
    assert len(old) == 44
    assert codec.read_connect(old) == codec.ConnectRequest(12, 30_000, -5, b"q" * 16, None)
    assert codec.read_connect(old + b"\1").read_only is True
    assert codec.read_connect(old + b"\0").read_only is False
    nothing_shown = struct.pack(">iqiqi", 0, 0, 10, 0, -1)
    assert codec.read_connect(nothing_shown).password == bytes(16)
    with pytest.raises(FrameError):
        codec.read_connect(struct.pack(">iqiqi17s", 0, 12, 30_000, 5, 17, b"q" * 17))


def test_vectors_of_strings_and_acls_are_exact() -> None:
    assert codec.encode_strings([]) == bytes(4)
    assert codec.encode_strings([b"a", b"", b"bc"]) == bytes.fromhex("00000003 00000001 61 00000000 00000002 6263")
    acl = (Acl(31, b"world", b"anyone"), Acl(1, b"digest", b"u:h"))
    encoded = codec.encode_acl(acl)
    head, tail = b"\0\0\0\2\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone", b"\0\0\0\1\0\0\0\6digest\0\0\0\3u:h"
    assert encoded == head + tail
    assert Reader(encoded).acl() == acl


def test_null_reads_as_empty_and_minus_two_is_an_error() -> None:
    assert Reader(b"\xff\xff\xff\xff").buffer() == b""
    assert Reader(b"\xff\xff\xff\xff").strings() == []
    with pytest.raises(FrameError):
        Reader(b"\xff\xff\xff\xfe").buffer()
    with pytest.raises(FrameError):
        Reader(b"\xff\xff\xff\xfe").strings()


def test_a_reader_stops_at_its_end_and_not_at_the_end_of_the_data() -> None:
    data = codec.encode_buffer(b"abc") + b"more"
    reader = Reader(memoryview(data), 0, 7)
    assert reader.buffer() == b"abc" and reader.remaining == 0
    for read in (reader.int32, reader.int64, reader.boolean, reader.buffer, reader.strings, reader.acl):
        with pytest.raises(FrameError):
            read()
    with pytest.raises(FrameError):
        Reader(data, 0, 6).buffer()


def test_a_vector_cannot_claim_more_items_than_bytes_were_sent() -> None:
    for claim in (2**31 - 1, 3):
        with pytest.raises(FrameError, match="vector"):
            Reader(struct.pack(">i", claim) + bytes(8)).strings()
        with pytest.raises(FrameError, match="vector"):
            Reader(struct.pack(">i", claim) + bytes(24)).acl()


def test_frame_length_needs_four_bytes_and_refuses_negative_and_too_long() -> None:
    assert codec.frame_length(b"") is None
    assert codec.frame_length(b"\0\0\0") is None
    assert codec.frame_length(b"xx\0\0\0\5", 2) == 9
    assert codec.frame_length(struct.pack(">i", 0xFFFFF)) == 0xFFFFF + 4
    for length in (-1, 0x100000, 2**31 - 1):
        with pytest.raises(FrameError):
            codec.frame_length(struct.pack(">i", length))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """What is given back never exceeds what was sent, and a prefix that was read stays readable with more behind it."""
    for method in ("int32", "int64", "boolean", "buffer", "strings", "acl"):
        reader = Reader(data)
        try:
            value = getattr(reader, method)()
        except FrameError:
            assert method not in ("int32", "int64", "boolean") or len(data) < 8
            continue
        assert 0 < reader.at <= len(data)
        longer = Reader(data + b"tail")
        assert getattr(longer, method)() == value and longer.at == reader.at
    try:
        codec.read_connect(data)
    except FrameError:
        pass


ACL_ENTRIES = st.builds(Acl, st.integers(-(2**31), 2**31 - 1), st.binary(max_size=9), st.binary(max_size=9))


@given(st.lists(ACL_ENTRIES, max_size=5))
def test_acls_survive_the_round_trip(acl: list[Acl]) -> None:
    encoded = codec.encode_acl(acl)
    assert Reader(encoded).acl() == tuple(acl)
    for cut in range(len(encoded)):
        with pytest.raises(FrameError):
            Reader(encoded[:cut]).acl()
