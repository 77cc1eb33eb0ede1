"""The payload of a DATA entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InternalError
from loggos.base.ids import NodeId, Stamps
from loggos.node.batch import EPOCHS, HEADER, decode_stamps, encode_batch, encode_run, runs_of, whole_runs
from loggos.node.levels import NEWEST_LEVEL
from tests.node.kit import commands_of

runs = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255).map(NodeId), st.integers(0, EPOCHS - 1), st.binary(max_size=40)),
    max_size=8,
)
clocks = st.integers(-(2**63), 2**63 - 1)


@given(runs, st.builds(Stamps, clocks, clocks, st.integers(0, 255)))
def test_what_is_encoded_comes_back(sent: list[tuple[int, NodeId, int, bytes]], stamps: Stamps) -> None:
    payload = encode_batch(stamps, [encode_run(*run) for run in sent])
    assert decode_stamps(payload) == stamps
    assert commands_of(payload, HEADER.size) == sent


@given(runs)
def test_joined_runs_are_the_same_as_separate_ones(sent: list[tuple[int, NodeId, int, bytes]]) -> None:
    encoded = [encode_run(*run) for run in sent]
    assert encode_batch(Stamps(1, 2, NEWEST_LEVEL), [b"".join(encoded)]) == encode_batch(Stamps(1, 2, NEWEST_LEVEL), encoded)


@given(st.binary(max_size=60))
def test_any_bytes_are_whole_exactly_if_they_can_be_walked(data: bytes) -> None:
    try:
        walked = commands_of(data)
    except InternalError:
        assert whole_runs(data, range(256)) == -1
        return
    assert whole_runs(data, range(256)) >= 0
    assert b"".join(encode_run(*run) for run in walked) == data


@given(runs.filter(bool), st.data())
def test_a_cut_is_noticed(sent: list[tuple[int, NodeId, int, bytes]], data: st.DataObject) -> None:
    whole = b"".join(encode_run(*run) for run in sent)
    last = len(encode_run(*sent[-1]))
    cut = whole[: -data.draw(st.integers(1, last - 1))]
    assert whole_runs(cut, range(256)) == -1
    with pytest.raises(InternalError):
        runs_of(cut)


def test_an_unknown_machine_is_not_taken() -> None:
    one, two = encode_run(1, NodeId(1), 0, b"x"), encode_run(2, NodeId(1), 0, b"y")
    assert whole_runs(one + two, (1, 2)) == 2
    assert whole_runs(one + two, (1,)) == -1
    assert whole_runs(one + two, (2,)) == -1
