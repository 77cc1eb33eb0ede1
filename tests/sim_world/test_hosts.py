"""Life and death of simulated hosts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from loggos.base.ports import World
from loggos.sim.loop import SimDeadlockError, SimError, SimTimeoutError
from loggos.sim.world import SimWorld


@pytest.fixture
def world() -> Iterator[SimWorld]:
    with SimWorld(3) as world:
        yield world


def ticking(ran: list[str]) -> Callable[[World], Coroutine[Any, Any, None]]:
    async def main(ports: World) -> None:
        try:
            for number in range(1000):
                ran.append(f"{number} at {ports.clock.monotonic():.1f}")
                await asyncio.sleep(1)
        finally:
            ran.append("finally")

    return main


def test_virtual_time_costs_nothing(world: SimWorld) -> None:
    async def scenario() -> str:
        await asyncio.sleep(100_000)
        return "done"

    assert world.run(scenario(), limit_s=200_000) == "done"
    assert world.simulated_s == 100_000
    assert world.wall_s < 5


def test_a_crash_runs_nothing_more_not_even_finally(world: SimWorld) -> None:
    ran: list[str] = []
    host = world.host("one")

    async def generator() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.5)
        finally:
            ran.append("generator")

    async def loops(ports: World) -> None:
        async for _ in generator():
            ran.append("loop")

    async def scenario() -> None:
        host.start(ticking(ran))
        host.start(loops)
        await asyncio.sleep(2.2)
        host.crash()
        before = len(ran)
        gc.collect()
        await asyncio.sleep(100)
        assert len(ran) == before
        assert not host.is_running

    world.run(scenario())
    assert "0 at 1000.0" in ran and "2 at 1002.0" in ran and "loop" in ran
    assert "finally" not in ran and "generator" not in ran


def test_a_generator_that_outlives_its_host_is_not_finished_either(world: SimWorld) -> None:
    host = world.host("one")
    ran: list[str] = []
    kept: list[AsyncIterator[int]] = []

    async def generator() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ran.append(world.current_host() or "nobody")

    async def main(ports: World) -> None:
        kept.append(generator())
        await anext(kept[-1])

    async def scenario() -> None:
        await host.start(main)
        kept.clear()
        await asyncio.sleep(1)
        assert ran == ["one"], "a living host's generator is finished in its own context"
        await host.start(main)
        host.crash()
        kept.clear()
        await asyncio.sleep(1)
        assert ran == ["one"]

    world.run(scenario())


def test_a_restart_has_the_same_disk_and_another_life(world: SimWorld) -> None:
    host = world.host("one")
    found: list[bytes] = []

    async def first(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        await file.write(0, [b"page cache"])
        await asyncio.sleep(100)
        found.append(b"never")

    async def second(ports: World) -> None:
        found.append(await (await ports.disk.open("x")).read(0, 100))

    async def scenario() -> None:
        host.start(first)
        await asyncio.sleep(1)
        host.crash()
        await host.start(second)

    world.run(scenario())
    assert found == [b"page cache"]


def test_a_paused_host_does_nothing_then_all_in_order(world: SimWorld) -> None:
    ran: list[str] = []
    host = world.host("one")

    async def main(ports: World) -> None:
        for number in range(5):
            ports.loop.call_later(number + 0.5, ran.append, f"timer {number}")
        await asyncio.sleep(10)

    async def scenario() -> None:
        host.start(main)
        await asyncio.sleep(1)
        host.pause()
        await asyncio.sleep(2.7)
        assert ran == ["timer 0"]
        host.resume()
        host.pause()
        host.resume()
        await asyncio.sleep(0.1)
        assert ran == ["timer 0", "timer 1", "timer 2", "timer 3"]
        await asyncio.sleep(1)

    world.run(scenario())
    assert ran == [f"timer {number}" for number in range(5)]


def test_a_host_that_dies_while_paused_stays_dead(world: SimWorld) -> None:
    ran: list[str] = []
    host = world.host("one")

    async def scenario() -> None:
        host.start(ticking(ran))
        await asyncio.sleep(0.5)
        host.pause()
        await asyncio.sleep(5)
        host.crash()
        host.resume()
        await asyncio.sleep(5)

    world.run(scenario())
    assert ran == ["0 at 1000.0"]


def test_clocks_jump_and_drift(world: SimWorld) -> None:
    host = world.host("one")
    seen: list[float] = []

    async def main(ports: World) -> None:
        seen.append(ports.clock.monotonic())
        wall = ports.clock.wall_ms()
        host.clock_jump(3_600_000)
        assert ports.clock.wall_ms() - wall == 3_600_000
        seen.append(ports.clock.monotonic())
        host.clock_drift(1.25)
        before = ports.loop.time()
        await asyncio.sleep(10)
        assert ports.loop.time() - before == pytest.approx(8)
        seen.append(ports.clock.monotonic())
        host.clock_drift(1.0)
        seen.append(ports.clock.monotonic())

    async def scenario() -> None:
        await host.start(main)

    world.run(scenario())
    assert not world.failures
    assert seen == sorted(seen) and seen[1] == seen[0] and seen[2] - seen[1] == pytest.approx(10) and seen[3] == seen[2]


def test_a_task_that_dies_stops_its_host_and_is_kept(world: SimWorld) -> None:
    ran: list[str] = []
    stopped: list[str] = []
    host = world.host("one")
    host.on_failure = lambda task, error: stopped.append(f"{task}: {error}")

    async def dies(ports: World) -> None:
        await asyncio.sleep(1.5)
        raise ValueError("as planned")

    async def scenario() -> None:
        host.start(ticking(ran))
        host.start(dies, "victim")
        await asyncio.sleep(10)

    world.run(scenario())
    assert stopped == ["one/victim: as planned"]
    assert [(failure.host, failure.task) for failure in world.failures] == [("one", "one/victim")]
    assert not host.is_running and len(ran) == 2


def test_what_cannot_happen_is_said(world: SimWorld) -> None:
    async def forever() -> None:
        await world.loop.create_future()

    async def long() -> None:
        await asyncio.sleep(100)

    with pytest.raises(SimDeadlockError):
        world.run(forever())
    with pytest.raises(SimTimeoutError):
        world.run(long(), limit_s=50)


def test_threads_datagrams_tls_and_hostless_networks_are_refused(world: SimWorld) -> None:
    async def scenario() -> None:
        with pytest.raises(SimError, match="no threads"):
            await asyncio.to_thread(print)
        with pytest.raises(SimError, match="datagrams"):
            await world.loop.create_datagram_endpoint(asyncio.DatagramProtocol)
        with pytest.raises(SimError, match="inside a host"):
            await asyncio.open_connection("10.0.0.1", 1)
        with pytest.raises(SimError, match="ssl"):
            await asyncio.open_connection("10.0.0.1", 1, ssl=True)

    world.run(scenario())


def test_sets_of_tasks_and_futures_have_one_order(world: SimWorld) -> None:
    async def nothing() -> None:
        return

    async def scenario() -> None:
        tasks = [asyncio.ensure_future(nothing()) for _ in range(50)]
        assert [hash(task) for task in tasks] == sorted(hash(task) for task in tasks)
        assert hash(world.loop.create_future()) > hash(tasks[-1])
        await asyncio.wait(set(tasks))

    world.run(scenario())


def test_the_collector_runs_at_virtual_times_only(world: SimWorld) -> None:
    closed: list[float] = []

    async def generator() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(world.loop.time())

    class Cycle:
        def __init__(self) -> None:
            self.me = self
            self.generator = generator()

    async def main(ports: World) -> None:
        assert not gc.isenabled()
        cycle = Cycle()
        await anext(cycle.generator)
        del cycle
        for _ in range(25):
            await asyncio.sleep(1)

    async def scenario() -> None:
        await world.host("one").start(main)

    world.run(scenario())
    assert closed == [1010.0]


def test_a_future_of_a_dead_host_awaited_elsewhere_harms_nobody(world: SimWorld) -> None:
    one, two = world.host("one"), world.host("two")
    ran: list[str] = []

    async def waits(ports: World) -> None:
        await shared
        ran.append(world.current_host() or "")

    async def scenario() -> None:
        one.start(waits)
        two.start(waits)
        await asyncio.sleep(1)
        one.crash()
        shared.set_result(None)
        await asyncio.sleep(1)

    shared = world.loop.create_future()
    world.run(scenario())
    assert ran == ["two"]


def test_a_supervised_task_that_only_itself_refers_to_lives_on(world: SimWorld) -> None:
    """As on a real node: a loop holds its tasks weakly, the supervisor holds them."""
    host = world.host("one")
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("collected")

    async def scenario() -> None:
        async def main(ports: World) -> None:
            ports.spawner.spawn(waits(), "waits")

        host.start(main)
        await asyncio.sleep(1)
        gc.collect()
        await asyncio.sleep(1)
        assert not ended

    world.run(scenario())
