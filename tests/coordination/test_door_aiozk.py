"""aiozk, the asyncio client of the simulator's workloads, against the door in one loop."""

from __future__ import annotations

import asyncio

import aiozk
import pytest
from aiozk import exc

from tests.coordination.fake_log import FakeCell, LoopNetwork
from tests.coordination.raw_client import in_loop


@in_loop
async def test_aiozk_reads_writes_locks_and_closes() -> None:
    cell = FakeCell(2).start()
    ports = [(await door.listen(LoopNetwork(), "127.0.0.1", 0)).port for door in cell.doors.values()]
    one, two = [aiozk.ZKClient(f"127.0.0.1:{port}", session_timeout=10) for port in ports]
    await asyncio.wait_for(one.start(), 10)
    await asyncio.wait_for(two.start(), 10)
    await one.create("/a", b"x")
    assert await two.get_data("/a") == b"x"
    await two.set_data("/a", b"y")
    assert await one.get_data("/a") == b"y"
    with pytest.raises(exc.NoNode):
        await one.get_data("/none")
    order: list[str] = []

    async def work(client: aiozk.ZKClient, name: str) -> None:
        async with client.recipes.Lock("/lock"):
            order.append(name)
            await asyncio.sleep(0.01)
            order.append(name)

    await asyncio.wait_for(asyncio.gather(work(one, "1"), work(two, "2")), 10)
    assert order in (["1", "1", "2", "2"], ["2", "2", "1", "1"])
    await one.close()
    await two.close()
    assert not cell.logs[1].machine.sessions
    cell.stop()
