"""Every message, entry and membership survives the wire; garbage gives PeerError and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import PeerError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus import codec
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

big = st.integers(0, (1 << 63) - 1)
positive = st.integers(1, (1 << 62))
few = st.integers(0, 9)


@st.composite
def runs(draw: st.DrawFn, *, consecutive: bool, ballot: int | None = None) -> tuple[Entry, ...]:
    slot = draw(st.integers(1, 1 << 40))
    entries = []
    for _ in range(draw(st.integers(0, 5))):
        origin = draw(st.integers(1, 1 << 40)) if ballot is None else draw(st.integers(1, ballot))
        kind = draw(st.sampled_from(list(Kind)))
        payload = b"" if kind is Kind.NOOP else draw(st.binary(max_size=40))
        at = origin + draw(st.integers(0, 1000)) if ballot is None else ballot
        entries.append(Entry(Slot(slot), Ballot(at), Ballot(origin), kind, payload))
        slot += 1 if consecutive else draw(st.integers(1, 5))
    return tuple(entries)


@st.composite
def promises(draw: st.DrawFn) -> Promise:
    entries = draw(runs(consecutive=False))
    first = draw(st.integers(0, entries[0].slot)) if entries else draw(big)
    last = entries[-1].slot if entries else first
    upto = draw(st.sampled_from([0, last + 3]))
    return Promise(Ballot(draw(big)), Slot(first), entries, Slot(draw(big)), Slot(draw(big)), Slot(draw(big)), Slot(upto))


@st.composite
def accepts(draw: st.DrawFn) -> Accept:
    ballot = draw(positive)
    return Accept(Ballot(ballot), draw(runs(consecutive=True, ballot=ballot)), Slot(draw(big)))


@st.composite
def learns(draw: st.DrawFn) -> Learn:
    entries = draw(runs(consecutive=True))
    return Learn(entries, Slot((entries[-1].slot if entries else 0) + draw(st.integers(0, 99))))


messages: st.SearchStrategy[Message] = st.one_of(
    promises(),
    accepts(),
    learns(),
    st.builds(PreVote, big, big),
    st.builds(PreVoteReply, big, st.booleans(), big, st.integers(0, 255), big),
    st.builds(Prepare, big, big),
    st.builds(lambda ballot, first, more, chosen: Accepted(ballot, first, first + more, chosen), big, positive, few, big),
    st.builds(Nack, big, big),
    st.builds(Heartbeat, big, big, big, st.booleans()),
    st.builds(HeartbeatReply, big, big, big, big, st.booleans()),
    st.builds(Fetch, positive),
    st.builds(ReadAsk, big),
    st.builds(ReadGrant, big, st.integers(-1, 1 << 62)),
    st.builds(SnapshotOffer, big, big),
    st.builds(Resign, big),
)


@given(messages)
def test_every_message_survives(message: Message) -> None:
    encoded = codec.encode_message(message)
    decoded = codec.decode_message(encoded)
    assert decoded == message and type(decoded) is type(message)
    assert codec.decode_message(memoryview(bytearray(encoded))) == message
    assert b"".join(codec.encode_parts(message)) == encoded


@given(messages, st.data())
def test_a_message_cut_or_lengthened_is_refused(message: Message, data: st.DataObject) -> None:
    encoded = codec.encode_message(message)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(PeerError):
        codec.decode_message(encoded[:cut])
    with pytest.raises(PeerError):
        codec.decode_message(encoded + b"\0")


@given(st.binary(max_size=200))
def test_garbage_is_a_message_or_an_error(garbage: bytes) -> None:
    try:
        message = codec.decode_message(garbage)
    except PeerError:
        return
    assert codec.encode_message(message) == garbage


@given(messages, st.data())
def test_a_flipped_byte_is_another_message_or_an_error(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode_message(message))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = codec.decode_message(encoded)
    except PeerError:
        return
    assert codec.encode_message(decoded) == encoded


def test_a_count_is_not_believed_before_the_bytes_are_there() -> None:
    encoded = codec.encode_message(Accept(Ballot(257), (), Slot(0)))
    with pytest.raises(PeerError, match="cannot hold"):
        codec.decode_message(encoded[:-4] + b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    "message",
    [
        Accept(Ballot(513), (Entry(Slot(1), Ballot(257), Ballot(257), Kind.NOOP, b""),), Slot(0)),
        Accept(Ballot(257), tuple(Entry(Slot(s), Ballot(257), Ballot(257), Kind.NOOP, b"") for s in (1, 3)), Slot(0)),
        Learn((Entry(Slot(5), Ballot(257), Ballot(257), Kind.NOOP, b""),), Slot(4)),
        Promise(Ballot(257), Slot(5), (Entry(Slot(4), Ballot(257), Ballot(257), Kind.NOOP, b""),), Slot(0), Slot(0), Slot(0)),
        Accepted(Ballot(257), Slot(5), Slot(4), Slot(0)),
        Fetch(Slot(0)),
        ReadGrant(1, -2),
        Heartbeat(Ballot(257), Slot(-1), 0),
        Accept(Ballot(257), (Entry(Slot(1), Ballot(257), Ballot(258), Kind.NOOP, b""),), Slot(0)),
        Accept(Ballot(257), (Entry(Slot(1), Ballot(257), Ballot(257), Kind.NOOP, b"x"),), Slot(0)),
    ],
)
def test_contradictions_are_refused(message: Message) -> None:
    with pytest.raises(PeerError):
        codec.decode_message(codec.encode_message(message))


nodes = st.integers(1, 255).map(NodeId)
lives = st.integers(0, (1 << 64) - 1).map(Incarnation)


members = st.builds(Member, lives, st.integers(0, 1 << 62))


@given(st.dictionaries(nodes, members, max_size=7), st.dictionaries(nodes, lives, max_size=3))
def test_memberships_survive(voters: dict[NodeId, Member], learners: dict[NodeId, Incarnation]) -> None:
    membership = Membership(voters, {node: life for node, life in learners.items() if node not in voters})
    encoded = codec.encode_membership(membership)
    assert codec.decode_membership(encoded) == membership
    shuffled = Membership(dict(reversed(membership.voters.items())), dict(reversed(membership.learners.items())))
    assert codec.encode_membership(shuffled) == encoded
    with pytest.raises(PeerError):
        codec.decode_membership(encoded + b"\0")


def test_a_membership_names_every_node_once_and_none_is_node_0() -> None:
    one = Member(Incarnation(1), Slot(1))
    for membership in (
        Membership({NodeId(0): one, NodeId(1): one}, {}),
        Membership({NodeId(1): one}, {NodeId(0): Incarnation(1)}),
        Membership({NodeId(1): one, NodeId(2): one}, {NodeId(2): Incarnation(1)}),
    ):
        with pytest.raises(PeerError, match="names a node twice, or node 0"):
            codec.decode_membership(codec.encode_membership(membership))


@given(st.binary(max_size=100))
def test_garbage_is_a_membership_or_an_error(garbage: bytes) -> None:
    try:
        codec.decode_membership(garbage)
    except PeerError:
        pass


@given(nodes, lives)
def test_rejoins_survive(node: NodeId, life: Incarnation) -> None:
    encoded = codec.encode_rejoin(Rejoin(node, life))
    assert codec.decode_rejoin(encoded) == Rejoin(node, life)
    with pytest.raises(PeerError):
        codec.decode_rejoin(encoded[:-1])


def test_entries_survive() -> None:
    entry = Entry(Slot(3), Ballot(514), Ballot(257), Kind.DATA, b"payload")
    encoded = b"zz" + codec.encode_entry_header(entry) + entry.payload + b"rest"
    assert codec.decode_entry(memoryview(encoded), 2) == (entry, len(encoded) - 4)
    with pytest.raises(PeerError):
        codec.decode_entry(memoryview(encoded)[:-5], 2)
