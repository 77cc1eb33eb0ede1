"""Runs a program on a world: simulated, asyncio, or uvloop. The programs know only ports.World.

`Site.run` starts a process, as it were: a second `run` finds the disk that the first one left.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from loggos.base.ports import World
from loggos.host.disk import data_sync
from loggos.host.loop import run as run_loop
from loggos.host.world import HostWorld
from loggos.sim.world import SimWorld

Program = Callable[[World], Coroutine[Any, Any, Any]]
KINDS = ("sim", "asyncio", "uvloop")


class Site(Protocol):
    failures: list[tuple[str, BaseException]]

    def run(self, program: Program) -> Any: ...

    def break_syncs(self) -> None:
        """From now on a sync fails with an input/output error."""
        ...


class HostSite:
    def __init__(self, directory: Path, prefer_uvloop: bool) -> None:
        self.directory, self.prefer_uvloop = directory, prefer_uvloop
        self.failures: list[tuple[str, BaseException]] = []
        self._broken = False

    def break_syncs(self) -> None:
        self._broken = True

    def _sync(self, descriptor: int) -> None:
        if self._broken:
            raise OSError(errno.EIO, "Input/output error")
        data_sync(descriptor)

    def run(self, program: Program) -> Any:
        async def main() -> Any:
            world = HostWorld(self.directory, lambda name, error: self.failures.append((name, error)), self._sync)
            try:
                async with asyncio.timeout(20):
                    return await program(world)
            finally:
                await world.close()

        return run_loop(main, self.prefer_uvloop)


class SimSite:
    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.host = world.host("one")

    @property
    def failures(self) -> list[tuple[str, BaseException]]:
        return [(failure.task, failure.error) for failure in self.world.failures]

    def break_syncs(self) -> None:
        self.host.platter.faults.sync_error = 1.0

    def run(self, program: Program) -> Any:
        results: list[Any] = []

        async def main(ports: World) -> None:
            results.append(await program(ports))

        async def scenario() -> None:
            await asyncio.wait([self.host.start(main)], timeout=20)
            self.host.crash()

        before = len(self.world.failures)
        self.world.run(scenario())
        for failure in self.world.failures[before:]:
            if failure.task == "one/main":
                raise failure.error
        assert results, "the program did not end within 20 s"
        return results[0]
