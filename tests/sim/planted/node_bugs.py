"""Broken drivers: the cell's clock, barriers, snapshots beside the log. Safety rules 8, 9, 14, 18, 19."""

from __future__ import annotations

from collections.abc import Iterator

from loggos.base.ids import Index, Slot
from loggos.base.limits import BARRIER_TIMEOUT_MS
from loggos.node.barriers import Barriers
from loggos.node.registry import CHUNK_HEAD, Registry
from loggos.node.replica import Replica
from tests.sim.planted.bug import LOST, STALE, Bug, member


class StateAfterHead(Registry):
    """A snapshot names the slot it was asked at, and holds the state of when it got around to it: what lies between is applied
    twice after a restart."""

    def snapshot(self) -> Iterator[bytes]:
        yield self.snapshot_head()
        for machine_id, machine in self.machines.items():
            for chunk in machine.snapshot():
                yield CHUNK_HEAD.pack(machine_id) + chunk


class ImpatientBarriers(Barriers):
    def met(self, applied: Slot, index: Index) -> None:
        super().met(Slot(1 << 62), index)


class AnswersBeforeApplying(Replica):
    """A barrier is answered when it is granted, whatever this node has applied."""

    def make_barriers(self) -> Barriers:
        return ImpatientBarriers(BARRIER_TIMEOUT_MS / 1000, self.world.entropy.below(1 << 48))


class WallClockCell(Replica):
    """The cell's clock is the leader's wall clock."""

    @property
    def cell_ms(self) -> int:
        return self.world.clock.wall_ms()


BUGS = (
    Bug(
        "double-apply-after-restart", "a snapshot's state is later than the slot it names", 9,
        member(registry=StateAfterHead), LOST,
    ),
    Bug(
        "barrier-before-applied", "a barrier is answered before its slot is applied here", 8,
        member(replica=AnswersBeforeApplying), STALE,
    ),
    Bug(
        "wall-clock-expires", "deadlines are in wall time: one jump expires everything", 14,
        member(replica=WallClockCell), ("expiry",),
    ),
)
