"""Famous mistakes, each planted by overriding one small method: the histories must find every one, or they prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from loggos.base.errors import DamageError
from loggos.base.ids import Ballot, Slot
from loggos.consensus.types import HardState
from loggos.storage.journal import Journal
from loggos.storage.records import Header
from loggos.storage.recovery import Recovery
from tests.storage.histories import History
from tests.storage.test_recovery import SEGMENT_BYTES, entry, journal_of, outcome, paths

SEEDS = 200


def found_by(journal_type: type[Journal] = Journal, recovery_type: type[Recovery] = Recovery) -> int | None:
    """The first seed whose history goes wrong."""
    for seed in range(SEEDS):
        try:
            asyncio.run(History(seed, journal_type, recovery_type).run())
        except (AssertionError, DamageError):
            return seed
    return None


class AcknowledgesBeforeSync(Journal):
    async def _await_durable(self, write: Awaitable[None]) -> None:
        async def swallow() -> None:
            try:
                await write
            except BaseException:
                return

        self.kept = asyncio.ensure_future(swallow())


class ForgetsThePromise(Journal):
    def _opening_hard_state(self) -> HardState:
        return HardState(Ballot(0), Slot(0))


class LeavesNamesUnsynced(Journal):
    async def _sync_directory(self) -> None:
        return


class AcceptsTornTails(Recovery):
    def body_is_whole(self, header: Header, body: memoryview) -> bool:
        return True


class LeavesTheTail(Recovery):
    async def _rewrite(self, number: int, start: int, end: int) -> None:
        return


@pytest.mark.parametrize("journal_type", [AcknowledgesBeforeSync, ForgetsThePromise, LeavesNamesUnsynced])
def test_a_planted_mistake_of_the_journal_is_found(journal_type: type[Journal]) -> None:
    assert found_by(journal_type=journal_type) is not None


@pytest.mark.parametrize("recovery_type", [AcceptsTornTails, LeavesTheTail])
def test_a_planted_mistake_of_recovery_is_found(recovery_type: type[Recovery]) -> None:
    assert found_by(recovery_type=recovery_type) is not None


class CutsDamageInTheMiddle(Recovery):
    def refuse_later(self, number: int, path: str, data: bytes, end: int, torn_batch: int | None) -> None:
        return


def test_cutting_damage_in_the_middle_would_lose_what_was_acknowledged() -> None:
    async def main() -> None:
        disk, states = await journal_of(5, 60)
        disk.names[paths(disk)[0]].live[700] ^= 1
        assert outcome(disk) is None
        found = await CutsDamageInTheMiddle(disk, "journal", SEGMENT_BYTES).scan()
        assert (found.hard_state, found.entries) in states[:-2]
        assert found.entries.get(Slot(6)) != entry(6, 60)

    asyncio.run(main())
