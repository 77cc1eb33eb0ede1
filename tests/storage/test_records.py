"""The journal's bytes, pinned: a change of the format must be meant, and raise FORMAT_VERSION."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.ids import Ballot, Slot
from loggos.consensus.types import Entry, HardState, Kind
from loggos.storage import records


def test_a_batch_is_laid_out_as_described() -> None:
    entry = Entry(Slot(3), Ballot(257), Ballot(258), Kind.DATA, b"payload")
    chunks, size_bytes = records.encode_batch(5, 1024, 9, [records.entry_item(entry)])
    image = b"".join(chunks)
    body = bytes.fromhex("0000000000000003 0000000000000101 0000000000000102 01") + b"payload"
    rest = (
        crc32c(body).to_bytes(4, "big")
        + len(body).to_bytes(4, "big")
        + bytes.fromhex("0000000000000005 0000000000000400 0000000000000009")
        + (48 + len(body)).to_bytes(4, "big")
        + b"\x03\0\0\0"
    )
    assert image == b"LgJ\xc1" + crc32c(rest).to_bytes(4, "big") + rest + body
    assert size_bytes == len(image) == records.ENTRY_BYTES + 7


def test_a_payload_is_handed_over_not_copied() -> None:
    entry = Entry(Slot(3), Ballot(257), Ballot(258), Kind.DATA, b"p" * 1000)
    chunks, _ = records.encode_batch(1, 0, 1, [records.entry_item(entry)])
    assert any(chunk is entry.payload for chunk in chunks)


def test_bodies_come_back() -> None:
    hard_state = HardState(Ballot(1 << 40), Slot((1 << 63) + 5))
    assert records.decode_opening(memoryview(records.opening_item(4096, hard_state, 7).fixed)) == (1, 4096, hard_state, 7)
    assert records.decode_hard(memoryview(records.hard_item(hard_state, 7).fixed)) == (hard_state, 7)
    assert records.decode_seal(memoryview(records.seal_item(8, 4096).fixed)) == (8, 4096)


def test_sizes_that_the_journal_plans_with_are_those_written() -> None:
    hard_state = HardState(Ballot(1), Slot(1))
    for item, size_bytes in (
        (records.opening_item(1, hard_state, 1), records.OPENING_BYTES),
        (records.hard_item(hard_state, 1), records.HARD_BYTES),
        (records.seal_item(2, 1), records.SEAL_BATCH_BYTES),
    ):
        assert records.encode_batch(1, 0, 1, [item])[1] == size_bytes


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_a_header_or_not(data: bytes, at: int) -> None:
    assert records.parse_header(data, at) is None
    assert records.parse_header(records.MAGIC + data, 0) is None


@given(st.binary(max_size=60))
def test_any_body_decodes_or_is_malformed(body: bytes) -> None:
    for decode in (records.decode_opening, records.decode_hard, records.decode_entry, records.decode_seal):
        try:
            decode(memoryview(body))
        except records.MalformedError:
            pass


@pytest.mark.parametrize(("offset", "sector"), [(0, 0), (1, 512), (512, 512), (513, 1024)])
def test_batches_start_on_sectors(offset: int, sector: int) -> None:
    assert records.next_sector(offset) == sector


def test_a_header_may_end_where_the_bytes_end() -> None:
    chunks, _ = records.encode_batch(1, 0, 1, [records.hard_item(HardState(Ballot(257), Slot(3)), 1)])
    data = b"".join(bytes(chunk) for chunk in chunks)
    assert records.parse_header(data[: records.HEADER_BYTES], 0) is not None
    assert records.parse_header(data[: records.HEADER_BYTES - 1], 0) is None
