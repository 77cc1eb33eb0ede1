"""The nemesis: schedules, what is recoverable, shrinking, and healing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from loggos.base.ports import World
from loggos.sim.nemesis import DAMAGING, DEFAULT_WEIGHTS, Nemesis, Schedule, Step, make_schedule, shrink
from loggos.sim.trace import Draws, Trace
from loggos.sim.world import SimHost, SimWorld

VOTERS = ("one", "two", "three")


class Recovery:
    def __init__(self) -> None:
        self.whole: list[str] = []
        self.restarted: list[str] = []

    def restart(self, host: SimHost) -> None:
        self.restarted.append(host.name)
        host.start(journal)

    def is_whole(self, host: SimHost) -> bool:
        return host.name in self.whole


async def journal(ports: World) -> None:
    """Write for ever."""
    name = f"{len(await ports.disk.list(''))}"
    file = await ports.disk.open(name, create=True)
    await ports.disk.sync_dir("")
    offset = 0
    while True:
        await file.write_sync(offset, [b"x" * 600])
        offset += 600
        await asyncio.sleep(0.05)


def schedule_of(seed: int, chaos_s: float = 60, gap_s: float = 0.5) -> Schedule:
    return make_schedule(Draws(Trace(), seed, "nemesis"), VOTERS, chaos_s, gap_s, others=["client"])


@pytest.fixture
def world() -> Iterator[SimWorld]:
    with SimWorld(2) as world:
        for name in VOTERS:
            world.host(name).start(journal)
        world.host("client")
        yield world


def test_a_schedule_comes_from_its_seed_and_goes_through_json() -> None:
    assert schedule_of(1) == schedule_of(1) != schedule_of(2)
    assert Schedule.from_json(schedule_of(1).to_json()) == schedule_of(1)
    actions = dict.fromkeys(step.action for seed in range(20) for step in schedule_of(seed).steps)
    assert sorted(actions) == sorted(DEFAULT_WEIGHTS)
    assert all(0 <= step.at_s < 60 for step in schedule_of(1).steps)


def test_a_dropped_step_changes_no_other() -> None:
    schedule = schedule_of(1)
    smaller = schedule.without([0, 2])
    assert smaller.steps == (schedule.steps[1], *schedule.steps[3:])


def test_shrinking_finds_the_steps_that_matter() -> None:
    schedule = schedule_of(5)
    needed = (schedule.steps[7], schedule.steps[31], schedule.steps[-1])
    runs = []

    def still_fails(candidate: Schedule) -> bool:
        runs.append(candidate)
        return all(step in candidate.steps for step in needed)

    assert shrink(schedule, still_fails, 500).steps == needed
    assert len(runs) < 200
    assert len(shrink(schedule, still_fails, 3).steps) >= len(needed)


def test_damage_never_hits_more_than_a_minority_until_it_is_repaired(world: SimWorld) -> None:
    recovery = Recovery()
    nemesis = Nemesis(world, VOTERS, Schedule(0, ()), recovery)

    async def scenario() -> None:
        await asyncio.sleep(1)
        for action in DAMAGING:
            args = {"host": "one", "for_s": 0.1, "sectors": 1}
            nemesis.perform(Step(0, action, args))
            assert list(nemesis.damaged) == ["one"], action
            nemesis.perform(Step(0, action, {**args, "host": "two"}))
            assert list(nemesis.damaged) == ["one"], action
            await asyncio.sleep(6)
        assert nemesis.skipped == len(DAMAGING)
        recovery.whole.append("one")
        assert nemesis.may_damage("two")
        nemesis.perform(Step(0, "wipe", {"host": "two", "for_s": 0.1}))
        assert list(nemesis.damaged) == ["two"]
        assert not nemesis.may_damage("one")

    world.run(scenario())


@pytest.mark.parametrize("action", list(DEFAULT_WEIGHTS))
def test_every_action_does_something_and_ends(world: SimWorld, action: str) -> None:
    recovery = Recovery()
    schedule = make_schedule(world.draws("nemesis"), VOTERS, 30, 3, {action: 1}, others=["client"])
    nemesis = Nemesis(world, VOTERS, schedule, recovery)

    async def chatter(ports: World) -> None:
        """Connections that half_open and reset can break."""
        opened = []
        for name in VOTERS:
            opened.append(await ports.network.connect(name, 7000, asyncio.Protocol))
        await asyncio.sleep(1000)

    async def listen(ports: World) -> None:
        await ports.network.listen("", 7000, asyncio.Protocol)

    async def scenario() -> None:
        recovery.whole += VOTERS
        for name in VOTERS:
            await world.hosts[name].start(listen)
        for name in (*VOTERS, "client"):
            world.hosts[name].start(chatter)
        await nemesis.chaos()
        assert world.trace.faults or action == "lossy_link", world.trace.faults
        nemesis.heal()
        assert not world.network.cut_links()
        for name in VOTERS:
            host = world.hosts[name]
            assert host.is_running and not host.is_paused and host.clock.rate == 1.0
            assert not host.platter.faults.is_hung and host.platter.free_bytes() > 1 << 30
        faults = sum(world.trace.faults.values())
        await asyncio.sleep(30)
        assert sum(world.trace.faults.values()) == faults, "after healing there are no faults"

    world.run(scenario())


@pytest.mark.parametrize("action", ["misdirect", "lose_write"])
def test_a_host_with_a_lying_disk_is_spared_until_it_can_know(world: SimWorld, action: str) -> None:
    recovery = Recovery()
    recovery.whole += VOTERS
    nemesis = Nemesis(world, VOTERS, Schedule(0, ()), recovery)
    host = world.hosts["one"]

    async def scenario() -> None:
        await asyncio.sleep(1)
        nemesis.perform(Step(0, action, {"host": "one", "for_s": 1.0}))
        await asyncio.sleep(0.9)
        nemesis.perform(Step(0, "power_cut", {"host": "one", "for_s": 1, "survival": "none"}))
        nemesis.perform(Step(0, "power_cut_all", {"hosts": ["one"], "for_s": [1]}))
        assert host.is_running and nemesis.skipped == 1
        assert not nemesis.may_damage("two"), "it looks whole, and does not know yet"
        host.platter.hang()
        await asyncio.sleep(5)
        assert host.is_running and "one" in nemesis.spared, "nothing was written behind the bad writes"
        host.platter.unhang()
        await asyncio.sleep(5)
        assert recovery.restarted == ["one"] and not nemesis.spared
        assert nemesis.may_damage("two")

    world.run(scenario())
    assert sum(world.trace.faults.get(kind, 0) for kind in ("lost write", "misdirected write")) > 0


def test_a_host_that_stops_by_itself_is_started_again(world: SimWorld) -> None:
    recovery = Recovery()
    nemesis = Nemesis(world, VOTERS, Schedule(10, (Step(1, "sync_error", {"host": "one", "for_s": 0.5}),)), recovery)
    world.run(nemesis.chaos())
    assert [failure.host for failure in world.failures][:1] == ["one"]
    assert recovery.restarted == ["one"] and world.hosts["one"].is_running
