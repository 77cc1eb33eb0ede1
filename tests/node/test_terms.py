"""What services are told of a change of leadership, and when: a term begins on what its predecessors left; a node that the
leader does not hear is leaderless."""

from __future__ import annotations

import asyncio
from typing import Any

from loggos.base.ids import NodeId
from loggos.base.limits import EARLY_SLOT_MS, ELECTION_TIMEOUT_MS
from tests.node.kit import LEDGER, Cell, CellNode, SimSite, Watcher, in_simulation, until


class Clocked(Watcher):
    """Notes the cell's clock when its node begins to lead."""

    def __init__(self, log: Any) -> None:
        super().__init__(log)
        self.began_at: list[int] = []

    def leader_changed(self, leader: NodeId, is_self: bool) -> None:
        super().leader_changed(leader, is_self)
        assert self.log is not None
        if is_self:
            self.began_at.append(self.log.cell_ms)


def clocked(cell: Cell) -> dict[int, Clocked]:
    watchers: dict[int, Clocked] = {}

    def attach(node: CellNode) -> None:
        watchers[node.number] = Clocked(node.replica)
        node.replica.follow(LEDGER, watchers[node.number])

    cell.attach = attach
    return watchers


def site_of(cell: Cell) -> SimSite:
    assert isinstance(cell.site, SimSite)
    return cell.site


def test_a_new_leaders_clock_goes_on_from_what_it_adopted() -> None:
    """Its predecessor's last batch is chosen only by the new leader, together with its own first entry. Leases that it grants at
    that moment must count from the time of that batch."""

    async def scenario(cell: Cell) -> None:
        watchers = clocked(cell)
        cell.start()
        leader = await cell.until_led()
        await cell.propose(leader.number, b"a=1")
        await cell.until_equal()
        await asyncio.sleep(20)
        network = site_of(cell).world.network
        others = [number for number in cell.nodes if number != leader.number]
        for number in others:  # its Accept arrives, their votes do not
            network.cut(f"n{number}", f"n{leader.number}")
        await cell.propose(leader.number, b"a=2")
        await asyncio.sleep(0.1)
        assert leader.ledger.totals == {"a": 1}
        await cell.stop(leader.number)
        await until(lambda: cell.leader is not None)
        new = cell.leader
        assert new is not None and new.number in others
        await until(lambda: new.ledger.totals == {"a": 3})
        began_at = watchers[new.number].began_at
        assert new.ledger.last_cell_ms > 20_000 and began_at and began_at[-1] >= new.ledger.last_cell_ms

    in_simulation(scenario)


def test_a_follower_that_is_not_heard_interrupts_and_is_told_of_no_leader() -> None:
    async def scenario(cell: Cell) -> None:
        watchers = clocked(cell)
        cell.start()
        leader = await cell.until_led()
        victim = next(node for node in cell.running() if node is not leader)
        await asyncio.sleep(1)
        ballot = leader.replica.status.ballot
        watcher, network, loop = watchers[victim.number], site_of(cell).world.network, asyncio.get_running_loop()
        watcher.events.clear()
        network.cut(f"n{victim.number}", f"n{leader.number}")
        await cell.propose(victim.number, b"lost=1")
        began = loop.time()
        await until(lambda: watcher.of("interrupted"), 2)
        assert ELECTION_TIMEOUT_MS / 1000 < loop.time() - began < 1
        assert watcher.of("leader_changed") == [("leader_changed", 0, False)]
        assert not victim.replica.leader and victim.replica.status.leader == leader.number
        assert victim.logged("not heard by the leader")
        await cell.propose(leader.number, b"meanwhile=1")
        await until(lambda: victim.ledger.totals.get("meanwhile") == 1)
        await cell.propose(victim.number, b"waits=1")  # never sent while it is not heard: it goes when it is
        network.heal()
        await until(lambda: victim.ledger.totals.get("waits") == 1)
        assert watcher.of("leader_changed")[-1] == ("leader_changed", leader.number, False)
        assert leader.replica.leader == leader.number and leader.replica.status.ballot == ballot, "the cell was not disturbed"

    in_simulation(scenario)


def test_what_is_on_its_way_is_not_given_up_before_another_leads() -> None:
    """A leader that steps down and leads again at once has chosen what it had proposed: nobody is interrupted meanwhile."""

    async def scenario(cell: Cell) -> None:
        watchers = clocked(cell)
        cell.start()
        leader = await cell.until_led()
        await cell.until_equal()
        network = site_of(cell).world.network
        others = [number for number in cell.nodes if number != leader.number]
        for number in others:
            network.cut(f"n{leader.number}", f"n{number}")
            network.cut(f"n{number}", f"n{leader.number}")
        watcher = watchers[leader.number]
        await cell.propose(leader.number, b"a=1")
        await until(lambda: leader.replica.leader == 0)
        assert watcher.of("leader_changed")[-1][1] == 0 and not watcher.of("interrupted")
        await until(lambda: any(cell.nodes[number].replica.leader in others for number in others))
        assert not watcher.of("interrupted")
        network.heal()
        await until(lambda: leader.replica.leader in others)
        assert watcher.of("interrupted")

    in_simulation(scenario)


def test_what_a_leader_queued_is_not_forwarded_to_the_next_one() -> None:
    """It judged by its own clock (rule 13): another leader must not carry it out."""

    async def scenario(cell: Cell) -> None:
        watchers = clocked(cell)
        cell.start()
        leader = await cell.until_led()
        other = next(node for node in cell.running() if node is not leader)
        await cell.propose(other.number, b"a=1")
        await until(lambda: all(node.ledger.totals for node in cell.running()))
        hosts = site_of(cell).hosts.values()
        for host in hosts:
            host.platter.hang()
        await cell.propose(other.number, b"a=1")
        while not leader.replica.engine.in_flight():  # noqa: ASYNC110 - simulated time, finer than `until`
            await asyncio.sleep(EARLY_SLOT_MS / 10_000)
        await cell.propose(leader.number, b"judged=1")
        assert leader.replica.outbox.queue and not leader.replica.outbox.has_sent
        leader.replica.resign("the test says so")
        for host in hosts:
            host.platter.unhang()
        await until(lambda: watchers[leader.number].of("interrupted"))
        await cell.until_equal()
        assert all("judged" not in node.ledger.totals for node in cell.running())

    in_simulation(scenario)
