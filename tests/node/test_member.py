"""Births and returns of members, in simulation: first start, crashes at every step of it, lost and damaged directories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from crc32c import crc32c

from loggos.base.errors import ConfigError, DamageError
from loggos.base.ports import Buffer, World
from loggos.consensus.types import Role
from loggos.sim.inodes import FileNode
from loggos.sim.world import SimHost, SimWorld
from tests.node.kit import Cell, CellNode, SimSite, in_simulation, until


def site_of(cell: Cell) -> SimSite:
    assert isinstance(cell.site, SimSite)
    return cell.site


def host_of(cell: Cell, number: int) -> SimHost:
    return site_of(cell).hosts[number]


def incarnation(node: CellNode) -> int:
    assert node.member is not None
    return node.member.mesh.hello.incarnation


async def writes(cell: Cell, count: int = 5) -> None:
    """The cell takes writes, and all that run agree."""
    leader = await cell.until_led()
    before = leader.replica.index
    await cell.propose(leader.number, *[b"w=1"] * count)
    await until(lambda: leader.replica.index >= before + count)
    await cell.until_equal()


async def all_vote(cell: Cell) -> None:
    await until(lambda: all(node.replica.status.role is not Role.LEARNER for node in cell.running()) and len(cell.running()) == 3)


# --- first start -------------------------------------------------------------------------------------------------------------


def test_all_voters_at_once_are_founding() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await writes(cell)
        assert [incarnation(node) for node in cell.nodes.values()] == [1, 1, 1]

    in_simulation(scenario)


def test_a_voter_that_is_late_is_waited_for() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start(1, 2)
        await asyncio.sleep(20)
        assert not any(node.runs for node in cell.nodes.values()), "nobody begins before all are there"
        waits = cell.nodes[1].logged("first start waits for voters")
        assert waits and waits[-1] == {"missing": [3]}
        assert host_of(cell, 1).platter.directory("journal") is None
        cell.start(3)
        await writes(cell)
        assert [incarnation(node) for node in cell.nodes.values()] == [1, 1, 1]

    in_simulation(scenario)


def test_a_voter_that_comes_and_goes_before_the_others() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start(1)
        await asyncio.sleep(1)
        await cell.stop(1)
        cell.start(2, 3)
        await asyncio.sleep(3)
        assert not any(node.runs for node in cell.nodes.values())
        cell.start(1)
        await writes(cell)
        assert [incarnation(node) for node in cell.nodes.values()] == [1, 1, 1]

    in_simulation(scenario)


def test_a_single_voter_needs_nobody() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await writes(cell)
        await cell.stop()
        cell.start()
        await writes(cell)
        assert cell.nodes[1].ledger.totals == {"w": 10}

    in_simulation(scenario, voters=1)


class CountingDisk:
    """A disk that ends its host right after (or, `torn`, right before) its n-th change."""

    CHANGES = ("open", "make_directory", "rename", "remove", "sync_dir")

    def __init__(self, disk: Any, on_change: Callable[[], None]) -> None:
        self._disk, self._on_change = disk, on_change

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)
        if name not in self.CHANGES:
            return method

        async def counted(*args: Any, **kwargs: Any) -> Any:
            result = await method(*args, **kwargs)
            self._on_change()
            return CountingFile(result, self._on_change) if name == "open" else result

        return counted


class CountingFile:
    def __init__(self, file: Any, on_change: Callable[[], None]) -> None:
        self._file, self._on_change = file, on_change
        self.path = file.path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        await self._file.write(offset, chunks)
        self._on_change()

    async def sync(self) -> None:
        await self._file.sync()
        self._on_change()

    def write_sync(self, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        future = asyncio.ensure_future(self._file.write_sync(offset, chunks))
        future.add_done_callback(lambda _: self._on_change())
        return future


class DyingSite(SimSite):
    """Node 2 dies at its `last`-th disk operation."""

    def __init__(self, world: SimWorld, nodes: int, last: int, power_cut: bool) -> None:
        super().__init__(world, nodes)
        self.left, self.power_cut, self.died = last, power_cut, False
        self.cell: Cell | None = None
        self.promised = 0  # durably, when it died

    def begin(self, node: CellNode, main: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        if node.number != 2 or self.died:
            super().begin(node, main)
            return

        async def counted(world: World) -> None:
            world.disk = CountingDisk(world.disk, self._changed)  # type: ignore[assignment]
            await main(world)

        super().begin(node, counted)

    def _changed(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.died:
            self.died = True
            self.world.loop.call_soon(self._die, context=self.world.context)

    def _die(self) -> None:
        assert self.cell is not None
        node = self.cell.nodes[2]
        if node.runs and node.replica.persister.idle:
            self.promised = node.replica.status.ballot
        if self.power_cut:
            self.hosts[2].power_cut("none")
        else:
            self.hosts[2].crash()


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_crash_at_any_step_of_birth_gives_one_founding_life_and_a_living_cell(power_cut: bool) -> None:
    """For each disk operation of node 2's first start: crash after it, start again; the cell lives, and node 2 votes."""
    promised = 0
    outcomes: dict[str, int] = {}
    for last in range(1, 46):
        with SimWorld(last) as world:
            site = DyingSite(world, 3, last, power_cut)
            cell = Cell(site)
            site.cell = cell
            boots: list[int] = []

            def attach(node: CellNode, boots: list[int] = boots) -> None:
                if node.number == 2:
                    boots.append(node.replica.engine.status().ballot)

            cell.attach = attach

            async def scenario(cell: Cell = cell, site: DyingSite = site) -> str:
                cell.start()
                while not site.died:
                    if cell.nodes[1].runs:
                        await cell.propose(1, b"early=1")
                    await asyncio.sleep(0.02)
                cell.nodes[2].member = None
                await asyncio.sleep(0.5)
                cell.start(2)
                await writes(cell)
                await all_vote(cell)
                return "founding" if incarnation(cell.nodes[2]) == 1 else "lost"

            outcome = world.run(scenario(), 120)
            assert incarnation(cell.nodes[1]) == incarnation(cell.nodes[3]) == 1
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if outcome == "founding":
                assert boots[-1] >= site.promised, "a founding life that comes back knows what it promised"
        promised += site.promised > 0
    assert promised > 5 and sum(outcomes.values()) == 45, "it died before and after its first promise"


# --- lost and damaged directories --------------------------------------------------------------------------------------------


async def began(cell: Cell) -> None:
    cell.start()
    await writes(cell)


def founding(node: CellNode) -> int:
    assert node.member is not None
    return node.member.mesh.hello.founding


def identity_file(host: SimHost) -> FileNode:
    found = host.platter.root.entries["identity.json"]
    assert isinstance(found, FileNode)
    return found


def of_another_cell(host: SimHost) -> None:
    """As if a directory of a cell with the same name had been put in this one's place."""
    file = identity_file(host)
    fields = {**json.loads(file.data), "founding": 4711, "checksum": 0}
    fields["checksum"] = crc32c(json.dumps(fields, separators=(",", ":")).encode())
    file.data[:] = json.dumps(fields, separators=(",", ":")).encode()


def contents(host: SimHost) -> set[tuple[str, str, bytes]]:
    found = {("", name, bytes(node.data)) for name, node in host.platter.root.entries.items() if isinstance(node, FileNode)}
    for directory in ("journal", "snapshots"):
        below = host.platter.directory(directory)
        found |= {(directory, name, bytes(node.data)) for name, node in (below.entries if below else {}).items()}  # type: ignore[union-attr]
    return found


async def failure(cell: Cell) -> str:
    """What the next start fails with."""
    failures = site_of(cell).world.failures
    before = len(failures)
    await until(lambda: len(failures) > before)
    return str(failures[-1].error)


@pytest.mark.parametrize("lost", ["everything", "the journal", "the identity", "a bit of the identity"])
def test_a_voter_that_lost_its_data_comes_back_as_a_lost_voter(lost: str) -> None:
    async def scenario(cell: Cell) -> None:
        await began(cell)
        number = (await cell.until_led()).number % 3 + 1
        host = host_of(cell, number)
        await cell.stop(number)
        if lost == "everything":
            host.wipe()
        elif lost == "the journal":
            host.platter.root.entries.pop("journal")
        elif lost == "the identity":
            host.platter.root.entries.pop("identity.json")
        else:
            identity_file(host).data[20] ^= 1
        before = founding(cell.nodes[number % 3 + 1])
        cell.start(number)
        await writes(cell)
        await all_vote(cell)
        node = cell.nodes[number]
        assert founding(node) == before
        if "identity" in lost:
            assert node.logged("damaged data set aside"), "of whom the journal was is not known"
        assert incarnation(node) > 1, "a new life: it must not vote as the old one"
        leader = await cell.until_led()
        voter = leader.replica.engine.membership.voters[number]
        assert voter.incarnation == incarnation(node) and voter.vouches_from > 1
        await cell.stop(number % 3 + 1)
        await writes(cell)

    in_simulation(scenario)


def test_the_only_voter_refuses_to_start_without_its_identity() -> None:
    async def scenario(cell: Cell) -> None:
        await began(cell)
        host = host_of(cell, 1)
        await cell.stop(1)
        host.platter.root.entries.pop("identity.json")
        before = contents(host)
        cell.start(1)
        assert "missing beside journal/" in await failure(cell) and contents(host) == before

    in_simulation(scenario, voters=1)


@pytest.mark.parametrize("strangers", [1, 2])
def test_a_directory_of_another_cell_with_the_same_name_is_refused(strangers: int) -> None:
    """One among three stops. Where two are, the third cannot know that they are in the wrong place, and stops."""

    async def scenario(cell: Cell) -> None:
        await began(cell)
        await cell.stop()
        placed = [3, 2][:strangers]
        for number in placed:
            of_another_cell(host_of(cell, number))
        alone = 3 if strangers == 1 else 1
        cell.start()
        await until(lambda: bool(cell.nodes[alone].fatal))
        error = cell.nodes[alone].fatal[0]
        assert isinstance(error, ConfigError) and "belongs to another cell with the name 'kit'" in str(error)
        await cell.stop(alone)
        await writes(cell)
        assert not any(node.fatal for node in cell.running())

    in_simulation(scenario)


def test_a_cell_keeps_its_voters() -> None:
    """Restarted with fewer, a node would be its own quorum and acknowledge what the others never hear of."""

    async def scenario(cell: Cell) -> None:
        await began(cell)
        await cell.stop()
        cell.voters = 1
        before = contents(host_of(cell, 1))
        cell.start(1)
        assert (
            "with the voters 1, 2, 3; the configuration names 1" in await failure(cell) and contents(host_of(cell, 1)) == before
        )
        cell.voters = 3
        cell.start()
        await writes(cell)

    in_simulation(scenario)


def test_a_lost_voter_alone_with_one_other_decides_nothing() -> None:
    """Two of three, one of them without memory: no quorum that could forget what was chosen."""

    async def scenario(cell: Cell) -> None:
        await began(cell)
        leader = await cell.until_led()
        wiped, third = [number for number in cell.nodes if number != leader.number]
        await cell.stop(wiped)
        await cell.propose(leader.number, b"x=1")
        await until(lambda: leader.replica.index == 6)
        await cell.stop(leader.number, third)
        host_of(cell, wiped).wipe()
        cell.start(wiped, third)
        await asyncio.sleep(10)
        assert cell.leader is None
        cell.start(leader.number)
        await writes(cell)
        assert all(node.ledger.totals["x"] == 1 for node in cell.running())

    in_simulation(scenario)


def damage_journal(host: SimHost) -> None:
    """In the middle of what was written, with whole batches after it."""
    directory = host.platter.directory("journal")
    assert directory is not None
    name = sorted(directory.entries)[0]
    data = directory.entries[name].data  # type: ignore[union-attr]
    data[1024] ^= 0xFF


def test_a_damaged_journal_is_set_aside_and_its_voter_rejoins() -> None:
    async def scenario(cell: Cell) -> None:
        await began(cell)
        number = (await cell.until_led()).number % 3 + 1
        for _ in range(5):
            await writes(cell)
        await cell.stop(number)
        damage_journal(host_of(cell, number))
        cell.start(number)
        await writes(cell)
        await all_vote(cell)
        node = cell.nodes[number]
        aside = node.logged("damaged data set aside")
        assert len(aside) == 1 and incarnation(node) > 1
        assert host_of(cell, number).platter.directory(str(aside[0]["to"]).strip("/")) is not None, "nothing is deleted"

    in_simulation(scenario)


def test_the_only_voter_refuses_to_start_on_damage_and_overwrites_nothing() -> None:
    async def scenario(cell: Cell) -> None:
        await began(cell)
        for _ in range(5):
            await writes(cell)
        host = host_of(cell, 1)
        await cell.stop(1)
        damage_journal(host)
        before = {name: bytes(node.data) for name, node in host.platter.directory("journal").entries.items()}  # type: ignore[union-attr]
        failures = len(site_of(cell).world.failures)
        cell.start(1)
        await until(lambda: len(site_of(cell).world.failures) > failures)
        error = site_of(cell).world.failures[-1].error
        assert isinstance(error, DamageError) and "damaged at byte" in str(error)
        after = {name: bytes(node.data) for name, node in host.platter.directory("journal").entries.items()}  # type: ignore[union-attr]
        assert {name: after[name] for name in before} == before
        assert not [name for name in host.platter.root.entries if name.startswith("damaged")]

    in_simulation(scenario, voters=1)


# --- learners ----------------------------------------------------------------------------------------------------------------


def test_a_configured_learner_follows_and_never_votes() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        await writes(cell)
        learner = cell.nodes[4]
        await until(lambda: learner.runs and learner.replica.registry.index == 5)
        assert learner.replica.status.role is Role.LEARNER and learner.ledger.totals == {"w": 5}
        await cell.propose(4, b"from=1")
        await until(lambda: all(node.ledger.totals.get("from") == 1 for node in cell.running()))
        leader = await cell.until_led()
        follower = next(number for number in (1, 2, 3) if number != leader.number)
        await cell.stop(follower)
        await writes(cell)
        await cell.stop(leader.number)
        await asyncio.sleep(10)
        assert cell.leader is None, "a voter and a learner are no quorum of three voters"
        index = max(node.replica.index for node in cell.running())
        await cell.propose(4, b"late=1")
        await asyncio.sleep(3)
        assert all(node.replica.index == index for node in cell.running())
        cell.start(follower)
        await until(lambda: all(node.ledger.totals.get("late") == 1 for node in cell.running()))

    in_simulation(scenario, learners=1)


def test_a_learner_added_after_the_first_snapshot_is_supplied() -> None:
    """The membership in a snapshot is older than the configuration, on disk and when it comes from another node."""

    async def scenario(cell: Cell) -> None:
        learner = cell.nodes.pop(4)
        await began(cell)
        leader = await cell.until_led()
        for _ in range(20):
            await cell.propose(leader.number, b"w=1" + b"." * 4_000)
            await cell.until_equal()
        await until(lambda: all(node.replica.metrics.counters.get("snapshots_made") for node in cell.running()))
        for number in (1, 2, 3):
            await cell.stop(number)
        cell.nodes[4] = learner
        cell.start()
        leader = await cell.until_led()
        await writes(cell)
        await cell.until_equal()
        membership = leader.replica.engine.membership
        assert list(membership.learners) == [4] and list(membership.voters) == [1, 2, 3]
        assert learner.replica.status.role is Role.LEARNER and learner.replica.leader == leader.number

    in_simulation(scenario, learners=1)
