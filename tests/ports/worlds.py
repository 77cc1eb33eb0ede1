"""Runs a program on a world: simulated, asyncio, or uvloop. The programs know only ports.World.

`Site.run` starts a process, as it were: a second `run` finds the disk that the first one left.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from loggos.base.ports import Buffer, World
from loggos.host.disk import SystemCalls
from loggos.host.loop import run as run_loop
from loggos.host.world import HostWorld
from loggos.sim.world import SimWorld

Program = Callable[[World], Coroutine[Any, Any, Any]]
KINDS = ("sim", "asyncio", "uvloop", "uvloop, separate calls")


class Site(Protocol):
    failures: list[tuple[str, BaseException]]

    def run(self, program: Program) -> Any: ...

    def break_syncs(self) -> None:
        """From now on a sync fails with an input/output error."""
        ...


class BreakableCalls(SystemCalls):
    """Syncs that can be made to fail. `may_join`: where the system can, a write and its sync are one call."""

    def __init__(self, may_join: bool = True) -> None:
        self.can_join = SystemCalls.can_join and may_join
        self.is_broken = False

    def sync(self, descriptor: int) -> None:
        self._refuse_if_broken()
        super().sync(descriptor)

    def write_sync(self, descriptor: int, chunks: Sequence[Buffer], offset: int) -> int:
        self._refuse_if_broken()
        return super().write_sync(descriptor, chunks, offset)

    def _refuse_if_broken(self) -> None:
        if self.is_broken:
            raise OSError(errno.EIO, "Input/output error")


class HostSite:
    def __init__(self, directory: Path, prefer_uvloop: bool, may_join: bool = True) -> None:
        self.directory, self.prefer_uvloop = directory, prefer_uvloop
        self.failures: list[tuple[str, BaseException]] = []
        self._calls = BreakableCalls(may_join)

    def break_syncs(self) -> None:
        self._calls.is_broken = True

    def run(self, program: Program) -> Any:
        async def main() -> Any:
            world = HostWorld(self.directory, lambda name, error: self.failures.append((name, error)), self._calls)
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
