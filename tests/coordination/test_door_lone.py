"""A lone write: one whole frame of a client that waits for nothing is proposed at once; everything else goes the usual way, and
the order of replies is the same."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.ids import NodeId
from loggos.base.limits import CLIENT_PIPELINE_BYTES_MAX, CLIENT_PIPELINE_MAX, JUTE_FRAME_BYTES_MAX
from loggos.coordination.commands import REQUESTS_HEADER
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import Reader
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import Event, RawClient, Reply, in_loop, settle

CHANGED = 3


def held_cell() -> tuple[FakeCell, RawClient]:
    """Entries are applied when the test says so. The client has made /v."""
    cell = FakeCell(auto=False).start()
    client = joined(cell)
    client.send(client.create(b"/v", b"0"))
    cell.logs[1].step()
    client.frames()
    return cell, client


def joined(cell: FakeCell, node: int = 1) -> RawClient:
    client = RawClient(cell, node)
    client.send(client.hello())
    for log in cell.logs.values():
        log.step()
    client.frames()
    return client


def answers(client: RawClient) -> list[tuple[int, int]]:
    return [(reply.xid, reply.error) for reply in client.received() if isinstance(reply, Reply)]


def runs(cell: FakeCell) -> list[tuple[int, int]]:
    """(first sequence, count) of each command of requests."""
    found = [REQUESTS_HEADER.unpack_from(command) for _, command, _ in cell.entries if command[0] == 1]
    return [(first, count) for _, _, _, first, count in found]


# --- proposed at once ----------------------------------------------------------------------------------------------------


@in_loop
async def test_it_is_with_the_log_before_the_turn_ends_and_answered_with_the_batch() -> None:
    cell, client = held_cell()
    entries = len(cell.entries)
    client.send(client.set(b"/v", b"1"))
    assert len(cell.entries) == entries + 1 and client.connection.has_unknown()
    plainly = cell.logs[1].plainly
    cell.logs[1].step()
    assert answers(client) == [(2, 0)] and cell.logs[1].plainly == plainly + 1
    assert client.connection.outstanding == 0 and not client.connection.has_unknown()
    await settle()
    assert len(cell.entries) == entries + 1, "it is not sent again at the turn's end"


@in_loop
async def test_a_write_that_fails_is_answered_as_ever() -> None:
    cell, client = held_cell()
    client.send(client.set(b"/none"))
    cell.logs[1].step()
    client.send(client.set(b"/v", b"1", version=7))
    cell.logs[1].step()
    client.send(client.request(codec.OP_SET_DATA))
    cell.logs[1].step()
    assert answers(client) == [(2, codec.NO_NODE), (3, codec.BAD_VERSION), (4, codec.MARSHALLING_ERROR)]


@in_loop
async def test_an_interruption_closes_a_client_whose_lone_write_is_under_way() -> None:
    cell, client = held_cell()
    other = joined(cell)
    client.send(client.set(b"/v", b"1"))
    cell.logs[1].interrupt()
    assert client.closed and not other.closed
    cell.logs[1].step()
    await settle()
    assert cell.logs[1].machine.tree.nodes[b"/v"].data == b"1", "unknown meant applied, this time"


@in_loop
async def test_what_counts_for_people_is_counted_once() -> None:
    cell, client = held_cell()
    counters, connection = cell.services[1].counters, client.connection
    writes, packets, received = counters.writes, counters.packets_received, connection.received
    frame = client.set(b"/v", b"1")
    client.send(frame)
    cell.logs[1].step()
    assert (counters.writes, counters.packets_received, connection.received) == (writes + 1, packets + 1, received + 1)
    assert (connection.last_opcode, connection.last_xid) == (codec.OP_SET_DATA, 2)
    assert connection._pending_bytes == 0


@in_loop
async def test_what_is_no_whole_single_write_is_not_taken_so() -> None:
    """Half a frame, a frame and a half, a read, the end of the session, an impossible length."""
    cell, client = held_cell()
    entries = len(cell.entries)
    frame = client.set(b"/v", b"1")
    client.send(frame[:-1])
    assert len(cell.entries) == entries
    client.send(frame[-1:])
    assert len(cell.entries) == entries + 1, "whole now"
    cell.logs[1].step()
    two = client.set(b"/v", b"2") + client.set(b"/v", b"3")
    client.send(two[:-3])
    assert len(cell.entries) == entries + 1, "gathered"
    client.send(two[-3:])
    await settle()
    cell.logs[1].step()
    client.send(client.get(b"/v"))
    assert answers(client) == [(2, 0), (3, 0), (4, 0), (5, 0)]
    bad = codec.REQUEST_HEAD.pack(JUTE_FRAME_BYTES_MAX + 1, 9, codec.OP_SET_DATA)
    client.send(bad + bytes(JUTE_FRAME_BYTES_MAX + 1 - 8))
    assert client.closed


# --- the order of replies ------------------------------------------------------------------------------------------------


@in_loop
async def test_what_follows_in_the_same_turn_keeps_its_place() -> None:
    cell, client = held_cell()
    client.send(client.set(b"/v", b"1"))
    client.send(client.set(b"/v", b"2") + client.get(b"/v") + client.set(b"/v", b"3"))
    client.send(client.sync(b"/v"))
    client.send(client.get(b"/v"))
    client.send(client.set(b"/v", b"4"))
    while client.connection.outstanding:
        await settle()
        cell.logs[1].step(1)
    replies = [reply for reply in client.received() if isinstance(reply, Reply)]
    assert [reply.xid for reply in replies] == list(range(2, 9))
    assert [Reader(replies[number].body).buffer() for number in (2, 5)] == [b"2", b"3"]
    assert cell.logs[1].machine.tree.nodes[b"/v"].data == b"4"
    firsts = [first for first, _ in runs(cell)]
    assert firsts == sorted(firsts) and sum(count for _, count in runs(cell)) == 5


@in_loop
async def test_what_follows_in_a_later_turn_keeps_its_place() -> None:
    cell, client = held_cell()
    client.send(client.set(b"/v", b"1"))
    await settle()
    client.send(client.get(b"/v"))
    await settle()
    client.send(client.set(b"/v", b"2"))
    await settle()
    assert answers(client) == []
    cell.logs[1].step(1)
    (first, second) = client.received()
    assert (first.xid, second.xid) == (2, 3)  # type: ignore[union-attr]
    assert Reader(second.body).buffer() == b"1"  # type: ignore[union-attr]
    cell.logs[1].step()
    assert answers(client) == [(4, 0)]


@in_loop
async def test_behind_a_sync_or_a_waiting_read_no_write_is_taken_alone() -> None:
    cell, client = held_cell()
    cell.logs[1].hold_barriers = True
    entries = len(cell.entries)
    client.send(client.sync(b"/v"))
    client.send(client.set(b"/v", b"1"))
    await settle()
    assert len(cell.entries) == entries and client.transport.paused
    cell.logs[1].release_barriers()
    await settle()
    assert len(cell.entries) == entries + 1
    cell.logs[1].step()
    assert answers(client) == [(2, 0), (3, 0)]


scripts = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["set", "set", "set", "get", "sync", "ping"]), min_size=1, max_size=4),
        st.sampled_from(["step", "turn", "barrier", "full", "room"]),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(scripts)
def test_any_mixture_of_whole_chunks_is_answered_in_order(script: list[str | list[str]]) -> None:
    """Each chunk is what one `data_received` brings: often one write alone. The log is full now and then."""

    async def run() -> None:
        cell, client = held_cell()
        log = cell.logs[NodeId(1)]
        log.hold_barriers = True
        expected: list[tuple[int, bytes | None]] = []
        value = b"0"
        for number, step in enumerate(script):
            if isinstance(step, list):
                chunk = b""
                for kind in step:
                    if kind == "set":
                        value = b"%d" % number
                        chunk += client.set(b"/v", value)
                    else:
                        chunk += {"get": client.get, "sync": client.sync}[kind](b"/v") if kind != "ping" else client.ping()
                    expected.append((codec.XID_PING if kind == "ping" else client.xid, value if kind == "get" else None))
                client.send(chunk)
            elif step == "step":
                log.step(1)
            elif step == "turn":
                await settle()
            elif step == "barrier":
                log.release_barriers()
            else:
                log.full = step == "full"
        log.full = False
        for _ in range(4 * len(expected) + 4):
            cell.advance(0.05)
            await settle()
            log.step(1)
            log.release_barriers()
        replies = [reply for reply in client.received() if isinstance(reply, Reply)]
        assert [reply.xid for reply in replies] == [xid for xid, _ in expected]
        for reply, (_, seen) in zip(replies, expected, strict=True):
            assert reply.error == 0 and (seen is None or Reader(reply.body).buffer() == seen)
        assert not client.transport.paused and client.connection.outstanding == 0
        assert runs_are_gapless(runs(cell)) and log.machine.tree.nodes[b"/v"].data == value
        assert client.connection._pending_bytes == 0

    asyncio.run(run())


def runs_are_gapless(found: list[tuple[int, int]]) -> bool:
    """Every write was sent once, in order."""
    return all(first + count == after for (first, count), (after, _) in pairwise(found))


# --- a full log, muted writes, many frames -------------------------------------------------------------------------------


@in_loop
async def test_a_full_log_makes_it_wait_and_it_is_sent_once() -> None:
    cell, client = held_cell()
    log, entries = cell.logs[1], len(cell.entries)
    log.full = True
    client.send(client.set(b"/v", b"1"))
    assert len(cell.entries) == entries and not client.connection.has_unknown(), "nothing was taken"
    await settle()
    assert client.transport.paused
    client.send(client.set(b"/v", b"2"))
    log.full = False
    cell.advance(0.1)
    await settle()
    assert runs(cell) == [(1, 1), (2, 1), (3, 1)] and not client.transport.paused
    log.step()
    assert answers(client) == [(2, 0), (3, 0)] and client.connection._pending_bytes == 0


@in_loop
async def test_a_log_that_is_full_for_less_than_a_turn_does_not_stop_reading() -> None:
    cell, client = held_cell()
    cell.logs[1].full = True
    client.send(client.set(b"/v", b"1"))
    cell.logs[1].full = False
    await settle()
    assert runs(cell) == [(1, 1), (2, 1)] and not client.transport.paused
    cell.logs[1].step()
    assert answers(client) == [(2, 0)]


@in_loop
async def test_a_client_that_vanishes_while_the_log_is_full_takes_its_write_with_it() -> None:
    cell, client = held_cell()
    cell.logs[1].full = True
    client.send(client.set(b"/v", b"1"))
    await settle()
    client.lose()
    cell.logs[1].full = False
    cell.advance(0.2)
    await settle()
    assert runs(cell) == [(1, 1)]


@in_loop
async def test_writes_of_our_own_making_are_not_answered_and_lone_ones_around_them_are() -> None:
    """An auth that proves two identities is two writes and one reply: here the second is muted."""
    cell, client = held_cell()
    connection = client.connection
    for number in range(2, 5):
        client.send(client.set(b"/v", b"%d" % number))
        connection._muted.append(connection.sequence)
        cell.logs[1].step()
        assert answers(client) == [] and connection._muted == [] and connection.outstanding == 0
        client.send(client.set(b"/v", b"%d" % number))
        cell.logs[1].step()
        assert answers(client) == [(client.xid, 0)]


@in_loop
async def test_around_an_auth_all_are_answered_in_order() -> None:
    cell, client = held_cell()
    client.send(client.set(b"/v", b"1"))
    client.send(client.auth(b"digest", b"me:secret"))
    client.send(client.set(b"/v", b"2"))
    await settle()
    cell.logs[1].step()
    client.send(client.auth(b"digest", b"you:secret"))
    await settle()
    cell.logs[1].step()
    client.send(client.set(b"/v", b"3"))
    cell.logs[1].step()
    auth = codec.XID_AUTH
    assert answers(client) == [(2, 0), (auth, 0), (3, 0), (auth, 0), (4, 0)]


@in_loop
async def test_frames_that_each_come_alone_are_bounded_by_the_pipeline() -> None:
    cell, client = held_cell()
    frame = client.set(b"/v", b"1")
    sent = 0
    while not client.transport.paused and sent <= CLIENT_PIPELINE_MAX + 10:
        client.send(frame)
        sent += 1
    assert sent == CLIENT_PIPELINE_MAX + 1 == client.connection.outstanding
    await settle()
    while cell.logs[1].applied < len(cell.entries):
        cell.logs[1].step(1)
    assert not client.transport.paused and client.connection.outstanding == 0
    assert len(answers(client)) == sent


@in_loop
async def test_large_frames_that_each_come_alone_are_bounded_by_their_bytes() -> None:
    cell, client = held_cell()
    frame = client.set(b"/v", bytes(900_000))
    sent = 0
    while not client.transport.paused and sent < 20:
        client.send(frame)
        await settle()
        sent += 1
    assert client.transport.paused and CLIENT_PIPELINE_BYTES_MAX < sent * len(frame) <= CLIENT_PIPELINE_BYTES_MAX + 2 * len(frame)
    cell.logs[1].step()
    assert not client.transport.paused and len(answers(client)) == sent


# --- watches -------------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_watch_is_fired_by_the_next_lone_write_of_another_node() -> None:
    cell = FakeCell(2, auto=False).start()
    watcher, writer = joined(cell, 1), joined(cell, 2)
    writer.send(writer.create(b"/v"))
    apply_all(cell)
    writer.frames()
    writer.send(writer.set(b"/v", b"1"))
    apply_all(cell)
    assert cell.logs[1].plainly == 1, "nobody watches yet"
    watcher.send(watcher.get(b"/v", watch=True))
    writer.send(writer.set(b"/v", b"2"))
    writer.send(writer.set(b"/v", b"3"))
    await settle()
    apply_all(cell)
    reply, event = watcher.received()
    assert isinstance(reply, Reply) and Reader(reply.body).buffer() == b"1"
    assert isinstance(event, Event) and (event.kind, event.path) == (CHANGED, b"/v")
    assert event.zxid == cell.logs[1].index - 1, "of the first of the two"
    assert cell.logs[1].plainly == 2, "the first had to be told, the second not any more"
    assert len(answers(writer)) == 3


@in_loop
async def test_a_watch_of_a_read_that_waited_is_fired_by_the_rest_of_the_same_batch() -> None:
    cell = FakeCell(2, auto=False).start()
    watcher, writer = joined(cell, 1), joined(cell, 2)
    writer.send(writer.create(b"/v"))
    apply_all(cell)
    watcher.send(watcher.set(b"/v", b"mine"))
    watcher.send(watcher.get(b"/v", watch=True))
    await settle()
    writer.send(writer.set(b"/v", b"theirs"))
    plainly = cell.logs[1].plainly
    cell.logs[1].step()  # one batch: its own write, the read behind it, the write of the other node
    own, read, event = watcher.received()
    assert isinstance(own, Reply) and isinstance(read, Reply) and isinstance(event, Event)
    assert Reader(read.body).buffer() == b"mine" and (event.kind, event.path) == (CHANGED, b"/v")
    assert event.zxid == own.zxid + 1 == cell.logs[1].index and cell.logs[1].plainly == plainly + 1


def apply_all(cell: FakeCell) -> None:
    for log in cell.logs.values():
        log.step()


@in_loop
async def test_a_node_with_clients_is_attended_and_one_with_watches_needs_all() -> None:
    cell = FakeCell(auto=False).start()
    service = cell.services[1]
    assert not service.is_attended() and not service.needs_all()
    client = RawClient(cell)
    client.send(client.hello())
    assert service.is_attended(), "its connect request is under way"
    cell.logs[1].step()
    client.frames()
    assert service.is_attended() and not service.needs_all()
    client.send(client.exists(b"/none", watch=True))
    assert service.needs_all()
    client.lose()
    assert not service.is_attended() and not service.needs_all()
