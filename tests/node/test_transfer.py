"""Snapshots between nodes, in simulation: a node that lags beyond the log gets one, whatever dies or fills up on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace

import pytest

from loggos.base.errors import PeerError
from loggos.base.ids import Incarnation, NodeId
from loggos.base.limits import SNAPSHOT_TRANSFER_STALL_MS
from loggos.base.steps import Steps
from loggos.node.registry import Registry
from loggos.node.replica import Replica
from loggos.node.transfer import SnapshotKeeper
from loggos.node.wire import CHUNK, SLOT, Type
from loggos.storage.journal import Journal
from loggos.storage.snapshots import SnapshotStore
from tests.node.kit import LEDGER, Cell, CellNode, SimSite, Watcher, in_simulation, until

VALUE = b"." * 500


async def write(cell: Cell, number: int, rounds: int, keys: int = 5) -> None:
    """`rounds` batches through one node, each seen applied there."""
    node = cell.nodes[number]
    for round_number in range(rounds):
        before = node.replica.index
        await cell.propose(number, *[b"%d=1" % (round_number * keys + key) + VALUE for key in range(keys)])
        await until(lambda b=before: node.replica.index >= b + keys)


async def with_a_laggard(cell: Cell) -> tuple[CellNode, int]:
    """A cell whose third node was away until the log that it needs was compacted; it is started by the caller."""
    cell.start()
    leader = await cell.until_led()
    away = next(number for number in cell.nodes if number != leader.number)
    await cell.stop(away)
    await write(cell, leader.number, 80)
    assert leader.replica.engine.status().first > 10 and leader.logged("snapshot")
    return leader, away


async def caught_up(cell: Cell, number: int) -> None:
    await until(lambda: cell.nodes[number].runs and len(cell.running()) == 3)
    await cell.until_equal()
    digests = [node.replica.registry.full_digest() for node in cell.running()]
    assert len(set(digests)) == 1, digests


class SlowRegistry(Registry):
    """Installs a snapshot for longer than a transfer may stand still: a large state."""

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 2 * SNAPSHOT_TRANSFER_STALL_MS / 1000
        while loop.time() < until_s:
            yield
        return (yield from super().restoring(chunks))


class SlowKeeper(SnapshotKeeper):
    async def pause(self) -> None:
        await asyncio.sleep(0.01)


class SlowInstaller(Replica):
    def make_keeper(self, journal: Journal, snapshots: SnapshotStore, journal_bytes: int) -> SnapshotKeeper:
        return SlowKeeper(self, journal, snapshots, journal_bytes)


def test_an_install_that_takes_longer_than_a_transfer_may_stand_still_is_waited_for() -> None:
    """Its sender keeps the log behind the snapshot until it is installed."""

    async def scenario(cell: Cell) -> None:
        leader, away = await with_a_laggard(cell)
        cell.parts_of[away] = replace(cell.parts, registry=SlowRegistry, replica=SlowInstaller)
        cell.start(away)
        node = cell.nodes[away]
        for _ in range(300):
            await write(cell, leader.number, 2)
            await asyncio.sleep(0.1)
            if node.runs and node.logged("snapshot installed"):
                break
        await caught_up(cell, away)
        assert len(node.logged("snapshot installed")) == 1 and not leader.logged("snapshot not sent")

    in_simulation(scenario, limit_s=600)


def test_a_laggard_gets_a_snapshot_and_then_the_log_under_load() -> None:
    async def scenario(cell: Cell) -> None:
        leader, away = await with_a_laggard(cell)
        cell.start(away)
        await write(cell, leader.number, 40)
        await caught_up(cell, away)
        assert cell.nodes[away].logged("snapshot installed") and leader.logged("snapshot sent")
        await cell.propose(away, b"late=1")
        await until(lambda: leader.ledger.totals.get("late") == 1)

    in_simulation(scenario)


def test_a_restored_node_starts_from_its_snapshot_again() -> None:
    async def scenario(cell: Cell) -> None:
        _, away = await with_a_laggard(cell)
        cell.start(away)
        await caught_up(cell, away)
        await cell.stop(away)
        boots: list[tuple[int, int]] = []
        cell.attach = lambda node: boots.append((node.replica.registry.slot, node.replica.registry.index))
        cell.nodes[away].log.clear()
        cell.start(away)
        await caught_up(cell, away)
        assert boots[-1][0] > 10 and boots[-1][1] > 50
        assert not cell.nodes[away].logged("snapshot installed")

    in_simulation(scenario)


def slow_disk(cell: Cell, number: int) -> None:
    """So slow that a transfer can be caught in the middle."""
    site = cell.site
    assert isinstance(site, SimSite)
    site.hosts[number].platter.faults.latency_s = 0.02


async def in_the_middle(cell: Cell, away: int) -> CellNode:
    """Start the laggard on a slow disk; return the sender once a transfer is on its way."""
    slow_disk(cell, away)
    cell.start(away)
    receiver = cell.nodes[away]
    await until(lambda: receiver.runs and receiver.replica.keeper._receiving is not None)
    receiving = receiver.replica.keeper._receiving
    assert receiving is not None
    return cell.nodes[receiving.sender]


def calm(cell: Cell) -> None:
    site = cell.site
    assert isinstance(site, SimSite)
    for host in site.hosts.values():
        host.platter.faults.calm()


Disturbance = Callable[[Cell, CellNode, int], Coroutine[None, None, None]]


async def sender_dies(cell: Cell, sender: CellNode, away: int) -> None:
    number = sender.number
    await cell.stop(number)
    calm(cell)
    cell.start(number)


async def receiver_dies(cell: Cell, sender: CellNode, away: int) -> None:
    await cell.stop(away)
    calm(cell)
    cell.start(away)


async def receiver_loses_power(cell: Cell, sender: CellNode, away: int) -> None:
    site = cell.site
    assert isinstance(site, SimSite)
    cell.up.pop(away)
    cell.nodes[away].member = None
    site.hosts[away].power_cut("torn")
    calm(cell)
    cell.start(away)


async def link_breaks(cell: Cell, sender: CellNode, away: int) -> None:
    site = cell.site
    assert isinstance(site, SimSite)
    assert site.world.network.reset_connections(f"n{sender.number}", f"n{away}")
    calm(cell)


async def disk_is_full_for_a_while(cell: Cell, sender: CellNode, away: int) -> None:
    site = cell.site
    assert isinstance(site, SimSite)
    host = site.hosts[away]
    host.platter.faults.quota_bytes = 0
    await asyncio.sleep(5)
    node = cell.nodes[away]
    assert node.logged("snapshot not stored") or node.logged("disk full") or node.logged("no snapshot")
    assert node.runs, "a full disk is no reason to stop"
    calm(cell)


@pytest.mark.parametrize("disturb", [sender_dies, receiver_dies, receiver_loses_power, link_breaks, disk_is_full_for_a_while])
def test_a_transfer_that_breaks_is_made_again(disturb: Disturbance) -> None:
    async def scenario(cell: Cell) -> None:
        _, away = await with_a_laggard(cell)
        sender = await in_the_middle(cell, away)
        await disturb(cell, sender, away)
        await caught_up(cell, away)
        names = list(_names(cell, away))
        assert not [name for name in names if name.endswith(".tmp") or "temporary" in name], names
        await cell.propose(away, b"late=1")
        await until(lambda: all(node.ledger.totals.get("late") == 1 for node in cell.running()))

    in_simulation(scenario)


def _names(cell: Cell, number: int) -> list[str]:
    site = cell.site
    assert isinstance(site, SimSite)
    directory = site.hosts[number].platter.directory("snapshots")
    return sorted(directory.entries) if directory is not None else []


def test_two_snapshots_are_kept_and_the_journal_from_the_older_one() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        await write(cell, leader.number, 150)
        await until(lambda: len(leader.logged("snapshot")) >= 3)
        await asyncio.sleep(1)
        names = _names(cell, leader.number)
        assert len(names) == 2 and all(name.endswith(".snap") for name in names)
        await cell.stop(leader.number)
        site = cell.site
        assert isinstance(site, SimSite)
        site.hosts[leader.number].platter.rot_at(f"snapshots/{names[-1]}", 100)
        cell.start(leader.number)
        await caught_up(cell, leader.number)

    in_simulation(scenario)


def test_a_cell_that_is_restarted_again_and_again_makes_snapshots_all_the_same() -> None:
    """Before each life has written enough for one: what lives before it wrote counts, and what a snapshot covers does not."""

    async def scenario(cell: Cell) -> None:
        for _ in range(12):  # 10 kB each, where a snapshot is made after 32
            cell.start()
            leader = await cell.until_led()
            await write(cell, leader.number, 4)
            await cell.until_equal()
            await asyncio.sleep(1)
            await cell.stop()
        made = [len(node.logged("snapshot")) for node in cell.nodes.values()]
        assert all(2 <= count <= 5 for count in made), made
        assert all(_names(cell, number) for number in cell.nodes)

    in_simulation(scenario)


def test_what_a_node_waits_for_is_unknown_when_a_snapshot_takes_its_place() -> None:
    """Its commands may lie among the entries that it never sees: it is told so, and its outbox is whole again."""

    async def scenario(cell: Cell) -> None:
        watchers: dict[int, Watcher] = {}

        def attach(node: CellNode) -> None:
            watchers[node.number] = Watcher(node.replica)
            node.replica.follow(LEDGER, watchers[node.number])

        cell.attach = attach
        leader, away = await with_a_laggard(cell)
        await in_the_middle(cell, away)
        node, watcher = cell.nodes[away], watchers[away]
        await until(lambda: node.replica.leader == leader.number)
        await cell.propose(away, b"lost=1")
        await until(lambda: leader.ledger.totals.get("lost") == 1)
        assert node.replica.outbox.has_sent
        site = cell.site
        assert isinstance(site, SimSite)
        site.hosts[away].platter.hang()
        await asyncio.sleep(SNAPSHOT_TRANSFER_STALL_MS / 1000 + 1)  # the sender gives up
        leader.replica.tail.unpin(NodeId(away))  # as if more were written than is kept for anyone
        await write(cell, leader.number, 80)
        site.hosts[away].platter.unhang()
        calm(cell)
        await caught_up(cell, away)
        assert b"lost=1" not in watcher.commands, "it lies before the snapshot"
        kinds = [event[0] for event in watcher.events if event[0] in ("interrupted", "restored")]
        assert kinds[:2] == ["interrupted", "restored"] and kinds.count("interrupted") == 1
        await cell.propose(away, b"next=1")
        await until(lambda: node.ledger.totals.get("next") == 1)
        assert watcher.of("applied")[-1][5] is not None and not node.replica.outbox.has_sent

    in_simulation(scenario)


@pytest.mark.parametrize("meta", [b"", b"{}", b'{"slot":9000,"index":1,"origin_applied":1,"membership":""}'])
def test_a_snapshot_without_a_sound_meta_is_never_stored(meta: bytes) -> None:
    """It would be found at the next start, as the newest."""

    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        sender = NodeId(leader.number % 3 + 1)

        def feed() -> None:
            for kind, body in (
                (Type.SNAPSHOT_BEGIN, SLOT.pack(9999) + meta),
                (Type.SNAPSHOT_CHUNK, CHUNK.pack(9999, 0) + b"x"),
                (Type.SNAPSHOT_END, CHUNK.pack(9999, 1)),
            ):
                with contextlib.suppress(PeerError):
                    leader.replica.peer_frame(sender, Incarnation(1), kind, body)

        await cell.site.on(leader.number, feed)
        await asyncio.sleep(1)
        assert _names(cell, leader.number) == [] and not leader.fatal

    in_simulation(scenario)


@pytest.mark.parametrize("kind", [Type.SNAPSHOT_BEGIN, Type.SNAPSHOT_CHUNK, Type.SNAPSHOT_END, Type.SNAPSHOT_ACK, Type.DIGEST])
@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"\xff" * 12, b"\0" * 40])
def test_frames_of_a_transfer_that_make_no_sense_harm_nobody(kind: Type, body: bytes) -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()

        def feed() -> None:
            try:
                leader.replica.peer_frame(NodeId(leader.number % 3 + 1), Incarnation(1), kind, body)
            except PeerError:
                return

        await cell.site.on(leader.number, feed)
        await asyncio.sleep(1)
        await write(cell, leader.number, 2)
        assert not leader.fatal and leader.runs

    in_simulation(scenario)
