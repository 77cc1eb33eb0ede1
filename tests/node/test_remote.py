"""The log over the socket where it differs from the log in one process: broken connections, slow and hostile processes, state
that moves while it is sent."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError, OverloadedError, PeerError
from loggos.base.ids import Index, NodeId, Stamps
from loggos.base.limits import BARRIER_TIMEOUT_MS, REMOTE_BARRIERS_MAX
from loggos.host.world import HostWorld
from loggos.node.batch import encode_run
from loggos.node.levels import NEWEST_LEVEL
from loggos.node.remote import codec
from loggos.node.remote.codec import PROTOCOL, Item, Open, Type, decode_batch, encode_batch_head, encode_item
from loggos.node.remote.server import LogServer
from loggos.node.wire import frame
from tests.node.kit import ECHO, LEDGER, Cell, Echo, Ledger, connect, in_simulation, on_host, until


async def one_node(cell: Cell) -> None:
    cell.serves = cell.serves or [LEDGER]
    cell.start()
    await cell.until_led()


def connection_of(server: LogServer | None) -> Any:
    """The server's end of its newest connection."""
    assert server is not None
    return list(server._connections)[-1]


# --- broken connections ------------------------------------------------------------------------------------------------------


def test_a_broken_connection_interrupts_then_restores() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        log, copy, watcher = await connect(node)
        await cell.site.on(1, lambda: log.propose(LEDGER, b"a=1"))
        await until(lambda: copy.totals == {"a": 1})

        answers: list[Index | None] = []

        def propose_and_break() -> None:
            for _ in range(10):
                log.propose(LEDGER, b"b=1")
            log.read_barrier(answers.append)
            log._flush()
            connection_of(node.server).cut_off("a test")

        await cell.site.on(1, propose_and_break)
        await until(lambda: log.leader == 0)
        assert ("interrupted",) in watcher.events
        assert watcher.events[-1] == ("leader_changed", 0, False)
        await until(lambda: log.synced and log.leader == 1)
        kinds = [event[0] for event in watcher.events]
        assert kinds.index("interrupted") < len(kinds) - 1 - kinds[::-1].index("restored")
        assert copy.totals == node.ledger.totals and log.index == node.replica.index
        await until(lambda: answers)
        assert answers[0] is not None, "a barrier is asked again: it changes nothing"
        await cell.site.on(1, lambda: log.propose(LEDGER, b"c=1"))
        await until(lambda: copy.totals.get("c") == 1)
        assert watcher.of("applied")[-1][5] == [f"{log.index}:c=1"], "a new connection's commands are told from an old one's"

    in_simulation(scenario, voters=1)


def test_what_was_not_sent_when_the_connection_broke_is_sent_on_the_next() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        log, copy, watcher = await connect(node)
        await cell.site.on(1, lambda: connection_of(node.server).cut_off("a test"))
        await until(lambda: not log.synced)
        await cell.site.on(1, lambda: log.propose(LEDGER, b"a=1"))
        answers: list[Index | None] = []
        await cell.site.on(1, lambda: log.read_barrier(answers.append))
        await until(lambda: copy.totals == {"a": 1})
        assert not watcher.of("interrupted")
        assert len(answers) == 1 and answers[0] is not None

    in_simulation(scenario, voters=1)


def test_a_process_outlives_its_cell(tmp_path: Path) -> None:
    """The node's process dies and comes back; a process with a world of its own, as on a real machine, goes on."""

    async def scenario(cell: Cell) -> None:
        cell.serves = [LEDGER]
        cell.start()
        await cell.until_led()
        node, own = cell.nodes[1], HostWorld(tmp_path / "other")
        node.world, cells_world = own, node.world
        log, copy, _ = await connect(node)
        node.world = cells_world
        log.propose(LEDGER, b"a=1")
        await until(lambda: copy.totals == {"a": 1})
        await cell.stop(1)
        await until(lambda: log.leader == 0)
        log.propose(LEDGER, b"a=1")
        cell.start(1)
        await until(lambda: copy.totals == {"a": 2})
        log.stop()
        await own.close()

    on_host(scenario, tmp_path, voters=1)


def test_a_barrier_ends_at_its_deadline_while_the_cell_is_away() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        log, _, _ = await connect(node)
        await cell.site.on(1, lambda: node.server.stop())  # type: ignore[union-attr]
        answers: list[Index | None] = []
        await cell.site.on(1, lambda: log.read_barrier(answers.append))
        await until(lambda: answers, limit_s=BARRIER_TIMEOUT_MS / 1000 + 1)
        assert answers == [None]

    in_simulation(scenario, voters=1)


# --- state -------------------------------------------------------------------------------------------------------------------


def test_a_process_that_joins_under_load_gets_exactly_the_state() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        first, _, _ = await connect(node)
        done = False

        async def load() -> None:
            for number in range(400):
                await cell.site.on(1, lambda n=number: first.propose(LEDGER, b"%d=1;x=%d" % (n, n)))
                await asyncio.sleep(0.0005)

        task = asyncio.ensure_future(load())
        joined = []
        for _ in range(8):
            joined.append(await connect(node))
            await asyncio.sleep(0.01)
        await task
        done = True
        await until(lambda: all(log.index == node.replica.index for log, _, _ in joined))
        for log, copy, watcher in joined:
            assert copy.totals == node.ledger.totals
            indices = [event[1] for event in watcher.of("applied")]
            assert indices == list(range(indices[0], int(log.index) + 1, 2)), "no command is missing or told twice"
            assert all(event[5] is None for event in watcher.of("applied")), "others' commands bring no replies"
        assert done and len({len(watcher.of("applied")) for _, _, watcher in joined}) > 4, "they joined at different places"

    in_simulation(scenario, voters=1)


def test_what_is_applied_while_the_state_travels_comes_after_it() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        first, _, _ = await connect(node)
        for part in range(8):
            names = [b"%d.%d." % (part, number) + b"n" * 20_000 for number in range(40)]
            await cell.site.on(1, lambda at=names: first.propose(LEDGER, b";".join(name + b"=1" for name in at)))
            await until(lambda at=part: first.index == 40 * (at + 1))
        task = asyncio.ensure_future(connect(node))
        await until(lambda: len(node.server.hubs[LEDGER].connections) == 2)  # type: ignore[union-attr]
        for _ in range(20):
            await cell.site.on(1, lambda: first.propose(LEDGER, b"during=1"))
            await asyncio.sleep(0.001)
        log, copy, watcher = await task
        began = watcher.of("applied")[0][1]
        assert began < 330, "commands were applied while the state, of 6 MB, was on its way"
        await until(lambda: log.index == 340)
        assert watcher.events[0] == ("restored",)
        assert [event[1] for event in watcher.of("applied")] == list(range(began, 341))
        assert copy.totals == node.ledger.totals

    in_simulation(scenario, voters=1)


class Restless(Ledger):
    """A machine whose newer snapshot ends an older one, as a machine may. `disturb` is called in the middle of the second."""

    slice_items = 1

    def __init__(self) -> None:
        super().__init__()
        self.walks: list[int] = []  # slices of each
        self.disturb: Callable[[], Any] = lambda: None

    def snapshot(self) -> Any:
        self.walks.append(0)
        return self._slices(len(self.walks), super().snapshot())

    def _slices(self, walk: int, slices: Any) -> Any:
        for piece in slices:
            assert walk == len(self.walks), "another slice was asked of a walk that has ended"
            self.walks[-1] += 1
            if self.walks[1:] == [10]:
                self.disturb()
            yield piece


def test_the_nodes_own_snapshot_goes_first() -> None:
    async def scenario(cell: Cell) -> None:
        cell.machines = lambda number: [Restless()]
        await one_node(cell)
        node = cell.nodes[1]
        first, _, _ = await connect(node)
        await cell.site.on(1, lambda: first.propose(LEDGER, b";".join(b"%d=1" % number for number in range(200))))
        await until(lambda: first.index == 200)
        before = len(node.logged("snapshot"))
        node.ledger.disturb = node.replica.keeper._spawn_make
        log, copy, _ = await connect(node)
        assert node.ledger.walks[1] < 20, "the process's walk was ended"
        assert node.ledger.walks[2:] == [200, 200], "the node's own, then the process's anew"
        assert len(node.logged("snapshot")) == before + 1
        assert copy.totals == node.ledger.totals and log.synced and not node.fatal

    in_simulation(scenario, voters=1)


def test_a_machine_that_listens_hears_the_others_over_the_socket() -> None:
    async def scenario(cell: Cell) -> None:
        cell.machines = lambda number: [Ledger(), Echo()]
        cell.serves = [LEDGER, ECHO]
        cell.start()
        await cell.until_led()
        node = cell.nodes[1]
        ledger_log, _, _ = await connect(node)
        echo_log, copy, _ = await connect(node, Echo())
        await cell.site.on(1, lambda: ledger_log.propose(LEDGER, b"a=1;b=2"))
        await cell.site.on(1, lambda: echo_log.propose(ECHO, b"c=3"))
        await until(lambda: echo_log.index == 3)
        assert copy.heard == node.machines[1].heard == [(2, LEDGER, [1, 2])] or copy.heard == [(3, LEDGER, [1, 2])]
        assert copy.totals == {"c": 3}

    in_simulation(scenario, voters=1)


def test_a_process_without_a_copy_sees_outcomes() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        await cell.site.on(1, lambda: None)
        log, _, watcher = await connect(cell.nodes[1], mirror=None)
        await cell.site.on(1, lambda: log.propose(LEDGER, b"a=1"))
        await until(lambda: watcher.of("applied"))
        assert watcher.of("applied") == [("applied", 1, b"a=1", [0], [1], ["1:a=1"])]

    in_simulation(scenario, voters=1)


def test_replies_can_be_declined() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        log, _, watcher = await connect(cell.nodes[1], replies=False)
        await cell.site.on(1, lambda: log.propose(LEDGER, b"a=1"))
        await until(lambda: watcher.of("applied"))
        assert watcher.of("applied")[0][5] is None

    in_simulation(scenario, voters=1)


class Wrong(Ledger):
    def change_of(self, amount: int) -> int:
        return -1


def test_a_copy_that_comes_to_another_result_stops_its_process() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        log, _, watcher = await connect(cell.nodes[1], Wrong())
        await cell.site.on(1, lambda: log.propose(LEDGER, b"a=1"))
        await until(lambda: cell.nodes[1].fatal)
        assert "machine 7 at index 1 differs from the cell's" in str(cell.nodes[1].fatal[0])
        assert not watcher.of("applied")

    in_simulation(scenario, voters=1)


# --- processes that misbehave ------------------------------------------------------------------------------------------------


def test_a_process_that_does_not_read_is_cut_off_and_the_cell_goes_on() -> None:
    async def scenario(cell: Cell) -> None:
        cell.server_options = {"queue_bytes_max": 200_000}
        await one_node(cell)
        node = cell.nodes[1]
        slow, slow_copy, slow_watcher = await connect(node, name="slow")
        quick, quick_copy, _ = await connect(node, name="quick")
        stream = slow._stream
        assert stream is not None and stream._transport is not None
        stream._transport.pause_reading()
        for number in range(1, 101):
            await cell.site.on(1, lambda: quick.propose(LEDGER, b"a=1" + b"." * 20_000))
            await until(lambda n=number: quick_copy.totals.get("a") == n)
        assert node.logged("following process cut off") == [{"connection": 1, "why": "it does not read"}]
        server_end = [c for c in node.server._connections if c.number == 1]  # type: ignore[union-attr]
        assert all(c._outgoing_bytes == 0 for c in server_end)
        if stream._transport is not None:
            stream._transport.resume_reading()
        await until(lambda: slow.synced and slow_copy.totals == quick_copy.totals)
        assert slow_watcher.of("restored")[1:], "it was brought up to date by a new snapshot"

    in_simulation(scenario, voters=1)


def test_credit_bounds_what_one_process_has_out() -> None:
    async def scenario(cell: Cell) -> None:
        cell.server_options = {"credit_bytes": 1000}
        await one_node(cell)
        log, copy, _ = await connect(cell.nodes[1])

        def fill() -> None:
            log.propose(LEDGER, b"a=1" + b"." * 800)
            with pytest.raises(OverloadedError):
                log.propose(LEDGER, b"a=1" + b"." * 800)

        for number in range(1, 6):
            await cell.site.on(1, fill)
            await until(lambda n=number: copy.totals == {"a": n})

    in_simulation(scenario, voters=1)


def test_what_the_log_cannot_take_yet_waits_in_the_cell() -> None:
    """The node's own bound is full: the process's commands are held, in order, and none is lost."""

    async def scenario(cell: Cell) -> None:
        cell.attach = lambda node: node.replica.outbox.limit(3000)
        await one_node(cell)
        log, copy, watcher = await connect(cell.nodes[1])
        commands = [b"a=%d" % number + b"." * 1000 for number in range(1, 31)]
        hub = cell.nodes[1].server.hubs[LEDGER]  # type: ignore[union-attr]
        platter = cell.site.hosts[1].platter  # type: ignore[attr-defined]
        platter.hang()
        await cell.site.on(1, lambda: [log.propose(LEDGER, command) for command in commands])
        await until(lambda: len(hub.held) == 28)
        platter.unhang()
        await until(lambda: copy.totals.get("a") == sum(range(1, 31)))
        assert watcher.commands == commands and all(event[5] for event in watcher.of("applied"))

    in_simulation(scenario, voters=1)


def test_what_was_given_up_is_nobodys_any_more() -> None:
    """The state comes anew while commands are with the log and others are held: the held ones are dropped, the others' outcomes
    belong to nobody, and the connection goes on."""

    async def scenario(cell: Cell) -> None:
        cell.attach = lambda node: node.replica.outbox.limit(3000)
        await one_node(cell)
        node = cell.nodes[1]
        log, copy, watcher = await connect(node)
        hub = node.server.hubs[LEDGER]  # type: ignore[union-attr]
        platter = cell.site.hosts[1].platter  # type: ignore[attr-defined]
        platter.hang()
        await cell.site.on(1, lambda: [log.propose(LEDGER, b"a=1" + b"." * 1000) for _ in range(30)])
        await until(lambda: len(hub.held) == 28)
        await cell.site.on(1, hub.restored)
        await until(lambda: len(watcher.of("restored")) == 2)
        assert watcher.events[-2:] == [("interrupted",), ("restored",)]
        platter.unhang()
        await until(lambda: copy.totals.get("a") == 2)
        assert all(event[5] is None for event in watcher.of("applied"))
        await cell.site.on(1, lambda: log.propose(LEDGER, b"b=1"))
        await until(lambda: copy.totals.get("b") == 1)
        assert copy.totals == {"a": 2, "b": 1} and watcher.of("applied")[-1][5]
        assert not node.logged("log connection broken off")

    in_simulation(scenario, voters=1)


def test_what_was_proposed_under_a_lead_that_has_ended_goes_to_no_other_leader() -> None:
    """What a process still had to send, and what was on its way, when its node ceased to lead (rule 13)."""

    async def scenario(cell: Cell) -> None:
        cell.serves = [LEDGER]
        cell.start()
        node = await cell.until_led()
        log, copy, watcher = await connect(node)
        await until(lambda: log.leader == node.number)
        hub = node.server.hubs[LEDGER]  # type: ignore[union-attr]

        def propose_and_resign() -> None:
            log.propose(LEDGER, b"a=1")  # leaves at the end of this turn, when the node leads no more
            hub.leader_changed(NodeId(0), False)

        await cell.site.on(node.number, propose_and_resign)
        await until(lambda: watcher.of("interrupted"))
        await cell.site.on(node.number, lambda: hub.leader_changed(NodeId(node.number), True))
        await cell.site.on(node.number, lambda: log.propose(LEDGER, b"b=1"))
        await until(lambda: copy.totals.get("b"))
        assert copy.totals == {"b": 1}

    in_simulation(scenario)


def test_news_of_a_lost_lead_that_waits_for_the_state_ends_what_was_judged_before_it_is_sent() -> None:
    """The state comes again while the lead is lost: the process learns of that only behind the state (rule 13)."""

    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        log, _, watcher = await connect(node)
        await until(lambda: log.leader == 1)
        hub = node.server.hubs[LEDGER]  # type: ignore[union-attr]

        def lose_lead_under_a_sync() -> None:
            connection = connection_of(node.server)
            hub._begin(connection)
            hub.leader_changed(NodeId(2), False)
            connection.post(frame(Type.LEADER, codec.LEADER.pack(2, False, 0)))

        await cell.site.on(1, lose_lead_under_a_sync)
        await until(lambda: len(watcher.of("interrupted")) or not log.synced)
        assert log.leader == 1, "it has not heard"
        await cell.site.on(1, lambda: log.propose(LEDGER, b"judged=1"))
        await cell.site.on(1, lambda: connection_of(node.server).post(frame(Type.END)))
        await until(lambda: log.leader == 2)
        await cell.site.on(1, lambda: log.propose(LEDGER, b"after=1"))
        await until(lambda: node.ledger.totals.get("after"))
        assert node.ledger.totals == {"after": 1}

    in_simulation(scenario, voters=1)


class Raw(asyncio.Protocol):
    """A connection that says whatever the test wants."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


def opened(**changes: Any) -> bytes:
    fields = {"protocol": PROTOCOL, "cell": "kit", "machine": LEDGER, "name": "raw", "state": True, "replies": True, **changes}
    return b"".join(frame(Type.OPEN, msgspec.json.encode(Open(**fields))))


def said(kind: Type, *parts: bytes) -> bytes:
    return b"".join(frame(kind, *parts))


RUN = encode_run(LEDGER, NodeId(0), 0, b"a=1")
HOSTILE = {
    "garbage": (b"GET / HTTP/1.1\r\n\r\n", b"frame"),
    "a wrong checksum": (b"\0\0\0\x06\0\0\0\0\x01x", b"checksum"),
    "a frame over the limit": (struct.pack(">IIB", 1 << 30, 0, 1), b"limit"),
    "no opening": (said(Type.PROPOSE, struct.pack(">I", 1), RUN), b"does not begin"),
    "no JSON": (said(Type.OPEN, b"{"), b"greeting"),
    "another version": (opened(protocol=9), b"log protocol 9"),
    "another cell": (opened(cell="other"), b"of cell 'other'"),
    "an unknown machine": (opened(machine=99), b"machine 99"),
    "a second opening": (opened() + opened(), b"sent OPEN"),
    "a frame of the cell": (opened() + said(Type.END), b"sent END"),
    "half a run": (opened() + said(Type.PROPOSE, struct.pack(">I", 0), RUN[:-1]), b"no run"),
    "a run of another machine": (
        opened() + said(Type.PROPOSE, struct.pack(">I", 0), encode_run(LEDGER + 1, NodeId(0), 0, b"a=1")),
        b"no run",
    ),
    "an epoch to come": (opened() + said(Type.PROPOSE, struct.pack(">I", 7), RUN), b"epoch 7"),
    "half an epoch": (opened() + said(Type.PROPOSE, b"\0"), b"ends inside"),
    "a note to nobody": (opened() + said(Type.TELL), b"nobody"),
    "barriers without end": (
        opened() + b"".join(said(Type.BARRIER, struct.pack(">I", n)) for n in range(REMOTE_BARRIERS_MAX + 1)),
        b"read barriers",
    ),
    "more than its credit": (
        opened() + said(Type.PROPOSE, struct.pack(">I", 0), *[encode_run(LEDGER, NodeId(0), 0, b"a=1" + b"." * 900)] * 2),
        b"credit",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_connection_is_closed_with_a_word_and_harms_nobody(name: str) -> None:
    data, why = HOSTILE[name]

    async def scenario(cell: Cell) -> None:
        cell.server_options = {"credit_bytes": 1000}
        await one_node(cell)
        node = cell.nodes[1]
        log, copy, _ = await connect(node)
        raw = Raw()

        async def attack() -> None:
            assert node.world is not None
            transport, _ = await node.world.network.connect_local("log.sock", lambda: raw)
            transport.write(data)

        await cell.site.on(1, attack)
        await until(lambda: raw.lost)
        assert why in raw.received
        await cell.site.on(1, lambda: log.propose(LEDGER, b"z=1"))
        await until(lambda: copy.totals.get("z") == 1)
        assert node.runs and not node.fatal

    in_simulation(scenario, voters=1)


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        raw = Raw()
        node = cell.nodes[1]
        await cell.site.on(1, lambda: node.world.network.connect_local("log.sock", lambda: raw))  # type: ignore[union-attr]
        await until(lambda: raw.lost)
        assert node.logged("following process cut off")[0]["why"] == "it did not say what it wants"

    in_simulation(scenario, voters=1)


def test_commands_of_an_earlier_epoch_are_given_up() -> None:
    """They were on the way when their process was told that their fate is unknown."""

    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        node = cell.nodes[1]
        raw = Raw()

        async def speak() -> None:
            assert node.world is not None
            transport, _ = await node.world.network.connect_local("log.sock", lambda: raw)
            transport.write(opened())
            await until(lambda: said(Type.END) in raw.received)
            transport.write(said(Type.PROPOSE, struct.pack(">I", 0), RUN))
            transport.write(said(Type.PROPOSE, struct.pack(">I", 1), encode_run(LEDGER, NodeId(0), 0, b"b=1")))

        await cell.site.on(1, speak)
        await until(lambda: node.ledger.totals)
        assert node.ledger.totals == {"b": 1}

    in_simulation(scenario, voters=1)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"cell": "other"}, "of cell 'other'"), ({"machine": Echo()}, f"machine {ECHO}")],
)
def test_a_process_that_can_never_follow_is_told_so(options: dict[str, Any], why: str) -> None:
    async def scenario(cell: Cell) -> None:
        await one_node(cell)
        machine = options.get("machine")
        rest = {key: value for key, value in options.items() if key != "machine"}
        with pytest.raises(ConfigError, match=why):
            await connect(cell.nodes[1], machine, **rest)

    in_simulation(scenario, voters=1)


# --- codec -------------------------------------------------------------------------------------------------------------------

items = st.builds(
    Item,
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
    st.integers(0, 2**62).map(Index),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=50),
    st.binary(max_size=50),
)


@given(st.lists(items, max_size=5), st.integers(0, 2**62), st.booleans())
def test_a_batch_comes_back(sent: list[Item], clock: int, is_done: bool) -> None:
    body = encode_batch_head(Stamps(clock, clock + 1, NEWEST_LEVEL), Index(9), is_done) + b"".join(
        bytes(part) for item in sent for part in encode_item(item)
    )
    batch = decode_batch(body)
    assert (batch.stamps, batch.applied, batch.is_done, batch.items) == (Stamps(clock, clock + 1, NEWEST_LEVEL), 9, is_done, sent)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_a_peer_error(body: bytes) -> None:
    try:
        batch = decode_batch(body)
    except PeerError:
        return
    size = codec.BATCH_HEAD.size + sum(codec.ITEM_HEAD.size + len(i.command) + len(i.outcome) for i in batch.items)
    assert size == len(body)
