"""The door under pressure: what is bounded, and what comes of input that is no protocol. Time and the log are the test's own."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from loggos.base.limits import (
    CLIENT_EARLY_BYTES_MAX,
    CLIENT_OUTPUT_BYTES_MAX,
    CLIENT_PIPELINE_BYTES_MAX,
    CLIENT_PIPELINE_MAX,
    CLIENT_WAITING_READS_MAX,
    CONNECT_DEADLINE_MS,
    JUTE_FRAME_BYTES_MAX,
    REQUESTS_PER_COMMAND_MAX,
)
from loggos.coordination.commands import REQUESTS_HEADER
from loggos.coordination.service import ServiceOptions
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, encode_buffer
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import RawClient, Reply, in_loop, settle

# --- bounds -------------------------------------------------------------------------


@in_loop
async def test_a_deep_pipeline_stops_reading_until_half_is_answered() -> None:
    cell = FakeCell(auto=False).start()
    client = RawClient(cell)
    client.send(client.hello())
    cell.logs[1].step()
    client.send(client.set(b"/none") * (CLIENT_PIPELINE_MAX + 1))
    await settle()
    assert client.transport.paused
    counts = [REQUESTS_HEADER.unpack_from(command)[4] for _, command, _ in cell.entries[1:]]
    assert sum(counts) == CLIENT_PIPELINE_MAX + 1 and max(counts) <= REQUESTS_PER_COMMAND_MAX
    while cell.logs[1].applied < len(cell.entries):
        cell.logs[1].step(1)
    assert not client.transport.paused and client.connection.outstanding == 0


@in_loop
async def test_many_large_writes_stop_reading_by_their_bytes() -> None:
    cell = FakeCell(auto=False).start()
    client = RawClient(cell)
    client.send(client.hello())
    cell.logs[1].step()
    frame = client.set(b"/none", bytes(900_000))
    for _ in range(CLIENT_PIPELINE_BYTES_MAX // len(frame) + 2):
        client.send(frame)
        await settle()
    assert client.transport.paused
    assert all(len(command) <= (1 << 20) + 4096 for _, command, _ in cell.entries)
    cell.logs[1].step()
    assert not client.transport.paused


@in_loop
async def test_reads_behind_a_write_are_bounded_in_number() -> None:
    cell = FakeCell(auto=False).start()
    client = RawClient(cell)
    client.send(client.hello())
    cell.logs[1].step()
    client.frames()
    count = CLIENT_WAITING_READS_MAX * 3
    client.send(client.create(b"/a") + b"".join([client.exists(b"/a") for _ in range(count)]))
    await settle()
    assert client.connection.outstanding <= CLIENT_WAITING_READS_MAX + 1 and client.transport.paused
    cell.logs[1].step()
    await settle()
    assert [reply.xid for reply in client.received()] == list(range(1, count + 2))
    assert not client.transport.paused


@in_loop
async def test_a_client_that_does_not_read_is_paused_then_closed() -> None:
    cell = FakeCell().start()
    writer, deaf = await RawClient(cell).connect(), await RawClient(cell).connect()
    await writer.do(writer.create(b"/big", bytes(900_000)))
    deaf.transport.stuffed = True
    deaf.send(deaf.get(b"/big") * 100)
    assert deaf.transport.unread < 4_000_000, "it stops answering who does not read"
    assert deaf.transport.paused and not deaf.closed
    deaf.transport.drain()
    assert not deaf.closed
    deaf.transport.stuffed = True
    await deaf.do(deaf.add_watch(b"/", 1))
    path = b"/" + b"x" * 4000
    writer.send(writer.create(path) + b"".join([writer.set(path) for _ in range(900)]))
    deaf.transport.unread = CLIENT_OUTPUT_BYTES_MAX
    deaf.connection.pause_writing()
    await settle()
    assert deaf.transport.aborted and not writer.closed
    assert len([r for r in writer.received() if isinstance(r, Reply)]) == 901


@in_loop
async def test_half_a_frame_for_ever_and_silence_are_closed_at_the_deadline() -> None:
    cell = FakeCell().start()
    served = await RawClient(cell).connect()
    silent, half = RawClient(cell), RawClient(cell)
    half.send(half.hello()[:20])
    cell.advance(CONNECT_DEADLINE_MS / 1000 - 1, step_s=0.5)
    served.send(served.ping())
    assert not silent.closed and not half.closed
    cell.advance(2, step_s=0.5)
    assert silent.closed and half.closed and not served.closed


@in_loop
async def test_a_closed_connection_whose_client_takes_nothing_is_aborted_at_the_deadline() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    client.transport.holds_close = True
    client.send(client.end())
    await settle()
    assert client.closed and len(cell.doors[1].connections) == 1
    cell.advance(CONNECT_DEADLINE_MS / 1000 + 1, step_s=0.5)
    await settle()
    assert client.transport.aborted and not cell.doors[1].connections


@in_loop
async def test_a_connection_that_ended_well_is_forgotten_at_once() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.end())
    cell.advance(CONNECT_DEADLINE_MS / 1000 + 1, step_s=0.5)
    assert not client.transport.aborted and not cell.doors[1].connections


@in_loop
async def test_connection_limits_in_all_and_by_address() -> None:
    cell = FakeCell(options=ServiceOptions(connections_max=3, connections_per_address_max=2)).start()
    clients = [await RawClient(cell, address=f"10.0.0.{n}").connect() for n in (1, 1, 2)]
    refused = [RawClient(cell, address=f"10.0.0.{n}") for n in (1, 3)]
    assert [client.closed for client in (*clients, *refused)] == [False, False, False, True, True]
    assert cell.doors[1].service.counters.connections_refused == 2
    await settle()
    clients[0].lose()
    assert not RawClient(cell, address="10.0.0.1").closed


@in_loop
async def test_the_oldest_that_has_said_nothing_gives_way() -> None:
    cell = FakeCell(options=ServiceOptions(connections_max=3)).start()
    session = await RawClient(cell).connect()
    silent = [RawClient(cell) for _ in range(2)]
    newcomer = await RawClient(cell).connect()
    assert not newcomer.closed and not session.closed
    assert [client.transport.aborted for client in silent] == [True, False]
    other = await RawClient(cell).connect()
    assert silent[1].transport.aborted and not other.closed
    assert RawClient(cell).closed, "all have sessions"
    assert not any(client.closed for client in (session, newcomer, other))


@in_loop
async def test_of_a_crowded_address_only_its_own_give_way() -> None:
    cell = FakeCell(options=ServiceOptions(connections_max=9, connections_per_address_max=2)).start()
    elsewhere = RawClient(cell, address="10.0.0.9")
    crowd = [RawClient(cell, address="10.0.0.1") for _ in range(3)]
    assert [client.closed for client in (elsewhere, *crowd)] == [False, True, False, False]
    await elsewhere.connect()
    newest = RawClient(cell, address="10.0.0.1")
    assert [client.closed for client in (elsewhere, *crowd, newest)] == [False, True, True, False, False]


@in_loop
async def test_whoever_waits_for_its_session_does_not_give_way() -> None:
    """Else many who come at once would drive each other out."""
    cell = FakeCell(options=ServiceOptions(connections_max=1), auto=False).start()
    waiting = RawClient(cell)
    waiting.send(waiting.hello())
    assert RawClient(cell).closed and not waiting.closed


@in_loop
async def test_whoever_waits_for_its_session_does_not_shield_the_silent_behind_it() -> None:
    cell = FakeCell(options=ServiceOptions(connections_max=2), auto=False).start()
    waiting = RawClient(cell)
    waiting.send(waiting.hello())
    silent = RawClient(cell)
    newcomer = RawClient(cell)
    assert silent.closed and not waiting.closed and not newcomer.closed


# --- bad input -------------------------------------------------------------------------


@in_loop
async def test_impossible_lengths_close_the_connection_and_no_other() -> None:
    cell = FakeCell().start()
    fine = await RawClient(cell).connect()
    for length in (-1, JUTE_FRAME_BYTES_MAX + 1, 7, -(2**31)):
        for tail in (b"", bytes(20)):
            client = await RawClient(cell).connect()
            client.send(INT32.pack(length) + tail)
            assert client.closed, length
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(4), b"\xff" * 64, INT32.pack(2_000)):
        client = RawClient(cell)
        client.send(garbage)
        assert client.closed, garbage
    assert not fine.closed


@in_loop
async def test_unknown_opcodes_reconfig_and_broken_bodies_have_their_codes() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    replies = await client.do(
        client.request(9999),
        client.request(codec.OP_RECONFIG),
        client.request(codec.OP_GET_DATA),
        client.request(codec.OP_GET_DATA, INT32.pack(1000) + b"/"),
        client.request(codec.OP_GET_CHILDREN, INT32.pack(-1) + b"\0"),
        client.request(codec.OP_MULTI_READ, b"\0"),
        client.request(codec.OP_SET_WATCHES, bytes(8) + INT32.pack(2**31 - 1)),
    )
    broken = codec.MARSHALLING_ERROR
    assert [r.error for r in replies if isinstance(r, Reply)] == [codec.UNIMPLEMENTED, codec.RECONFIG_DISABLED] + [broken] * 5
    assert not client.closed


@in_loop
async def test_sasl_is_refused_and_closed() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    (reply,) = await client.do(client.request(codec.OP_SASL, encode_buffer(b"")))
    assert isinstance(reply, Reply) and reply.error == codec.AUTH_FAILED and client.closed


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_any_bytes_split_anyhow_close_or_wait(pieces: list[bytes], connected: bool) -> None:
    async def run() -> None:
        cell = FakeCell().start()
        client = RawClient(cell)
        if connected:
            await client.connect()
        for piece in pieces:
            if client.closed:
                break
            client.send(piece)
            await settle()
        fine = await RawClient(cell).connect()
        assert [r.error for r in await fine.do(fine.ping()) if isinstance(r, Reply)] == [0]

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from([*range(-12, 25), *range(99, 109)]), st.binary(max_size=60)), max_size=12), st.data())
def test_any_bodies_of_any_opcodes_are_answered_one_by_one(parts: list[tuple[int, bytes]], data: st.DataObject) -> None:
    async def run() -> None:
        cell = FakeCell().start()
        client = await RawClient(cell).connect()
        stream = b"".join([client.request(opcode, body) for opcode, body in parts])
        cut = data.draw(st.integers(0, len(stream)))
        client.send(stream[:cut])
        await settle()
        if not client.closed:
            client.send(stream[cut:])
        await settle()
        replies = [reply.xid for reply in client.received() if isinstance(reply, Reply) and reply.xid != codec.XID_PING]
        if not client.closed:
            pings = sum(opcode == codec.OP_PING for opcode, _ in parts)
            assert len(replies) == len(parts) - pings and replies == sorted(replies)

    asyncio.run(run())


@in_loop
async def test_who_is_being_attached_is_read_from_so_that_its_end_is_seen_but_not_without_bound() -> None:
    cell = FakeCell().start()
    cell.logs[1].held = True
    client = RawClient(cell)
    pings = client.request(codec.OP_PING, xid=codec.XID_PING) * 100
    client.send(client.hello() + pings)
    await settle()
    assert not client.transport.paused
    sent = 1
    while not client.transport.paused:
        client.send(pings)
        sent += 1
    assert sent * len(pings) <= CLIENT_EARLY_BYTES_MAX + len(pings)
    cell.logs[1].held = False
    await settle()
    cell.logs[1].step()
    greeting, *answers = client.frames()
    assert greeting[8:16] != bytes(8) and len(answers) == sent * 100 and not client.transport.paused
