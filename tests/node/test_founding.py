"""Which cell a node is of, in simulation: strangers of the same name, lost identities, crashes while data is set aside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loggos.consensus.types import Role
from loggos.node.wire import Standing
from loggos.sim.world import SimWorld
from tests.node.kit import Cell, CellNode, SimSite, in_simulation, until
from tests.node.test_member import (
    CountingDisk,
    all_vote,
    began,
    founding,
    host_of,
    identity_file,
    incarnation,
    of_another_cell,
    site_of,
    writes,
)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_wiped_node_among_strangers_finds_its_own_cell_and_hears_no_other(seed: int) -> None:
    """Whoever it let in while it knew of no cell, it does not keep."""

    async def scenario(cell: Cell) -> None:
        await began(cell)
        await cell.stop()
        of_another_cell(host_of(cell, 4))
        host_of(cell, 5).wipe()
        cell.start(4, 5, 1, 2, 3)
        await until(lambda: cell.nodes[5].runs)
        await cell.propose(1, b"w=1")
        await asyncio.sleep(5)
        node = cell.nodes[5]
        assert node.member is not None and 4 not in node.member.mesh.receiving
        assert founding(node) == founding(cell.nodes[1]) != founding(cell.nodes[4])
        await until(lambda: node.replica.status.role is not Role.LEARNER)
        refusals = [fields for fields in cell.nodes[1].logged("peer refused") if "another cell" in fields["why"]]
        assert len(refusals) == 1, "the stranger dials again and again, and is told of once"

    with SimWorld(seed) as world:
        world.run(scenario(Cell(SimSite(world, 5), voters=5)), 300)


@pytest.mark.parametrize("how", ["a bit", "missing"])
def test_nobody_begins_a_cell_over_a_node_that_lost_its_identity(how: str) -> None:
    """Two of three are wiped. The third cannot say what was; the cell stops rather than guess."""

    async def scenario(cell: Cell) -> None:
        await began(cell)
        await cell.stop()
        host_of(cell, 1).wipe()
        host_of(cell, 2).wipe()
        if how == "a bit":
            identity_file(host_of(cell, 3)).data[20] ^= 1
        else:
            host_of(cell, 3).platter.root.entries.pop("identity.json")
        cell.start()
        await asyncio.sleep(20)
        assert not any(node.runs for node in cell.nodes.values())
        assert cell.nodes[1].logged("first start waits for voters")[-1] == {"missing": [], "lost": [3]}
        why = "no majority of the 3 voters names one cell: none does"
        assert cell.nodes[3].logged("first start waits for voters")[-1] == {"missing": [], "why": why}
        member = cell.nodes[3].member
        assert member is not None and member.mesh.hello.standing == Standing.LOST

    in_simulation(scenario)


def test_a_cell_of_two_cannot_take_back_who_lost_its_identity_and_says_so() -> None:
    async def scenario(cell: Cell) -> None:
        await began(cell)
        await cell.stop()
        identity_file(host_of(cell, 2)).data[20] ^= 1
        cell.start()
        await asyncio.sleep(20)
        named = f"1 names {founding(cell.nodes[1]):x}"
        why = f"no majority of the 2 voters names one cell: {named}"
        assert cell.nodes[2].logged("first start waits for voters")[-1] == {"missing": [], "why": why}

    in_simulation(scenario, voters=2)


class CrashingSite(SimSite):
    """Node 2 crashes at its `left`-th disk operation from `arm` on."""

    left = 0
    is_armed = False

    def arm(self, left: int) -> None:
        self.left, self.is_armed = left, True

    def begin(self, node: CellNode, main: Any) -> None:
        if not self.is_armed or node.number != 2:
            super().begin(node, main)
            return

        async def counted(world: Any) -> None:
            world.disk = CountingDisk(world.disk, self._changed)
            await main(world)

        super().begin(node, counted)

    def _changed(self) -> None:
        self.left -= 1
        if self.left == 0 and self.is_armed:
            self.is_armed = False
            self.world.loop.call_soon(self.hosts[2].crash, context=self.world.context)


def test_a_crash_at_any_step_of_setting_aside_keeps_the_old_journal_out() -> None:
    """Nobody knows whose it is; the new life begins from nothing, however often the old one's files were moved."""
    crashes = 0
    for last in range(1, 26):
        with SimWorld(last) as world:
            site = CrashingSite(world, 3)
            cell = Cell(site)

            async def scenario(cell: Cell = cell, site: CrashingSite = site, last: int = last) -> bool:
                await began(cell)
                for _ in range(40):
                    leader = await cell.until_led()
                    await cell.propose(leader.number, *[b"w=1" + b"." * 4000] * 2)
                    await cell.until_equal()
                await cell.stop(2)
                host = host_of(cell, 2)
                identity_file(host).data[20] ^= 1
                site.arm(last)
                cell.start(2)
                await asyncio.sleep(3)
                crashed = not site.is_armed
                site.is_armed = False
                if crashed:
                    cell.nodes[2].member = None
                    cell.start(2)
                await writes(cell)
                await all_vote(cell)
                node = cell.nodes[2]
                assert incarnation(node) > 1
                aside = [name for name in host.platter.root.entries if name.startswith("damaged-")]
                kept = [host.platter.directory(f"{name}/journal") for name in aside]
                assert sum(len(found.entries) for found in kept if found is not None) >= 2, "all that it held lies there"
                assert not site_of(cell).world.failures
                return crashed

            crashes += world.run(scenario(), 300)
    assert crashes >= 12, crashes
