"""Agreement: this node tells the others what it holds, and judges what they say (rule 18).

Two digests are compared, each by a `Digests` of its own (digests.py):

    rolling   over every entry and what it left, at every DIGEST_EVERY slots; shows that nodes went different ways
    full      over the whole state, by a walk beside the log (a scrub); shows also what was stored wrong and never read again

All nodes scrub at the same slots, for these follow from the replicated state alone (`is_due`): where the cell's clock, which the
batches carry, passes a multiple of a time that grows with the state. So a restart or an installed snapshot puts nobody out of
step, a difference is found in bounded time however much is written, and scrubs take a bounded share of the loop. A log that
stands still is scrubbed where it stands. A scrub gives way to a snapshot; the others then compare without this node.

The newest of both is told again every DIGEST_AGAIN_MS: to a node that was away, started, or lost a frame. Must not know what a
machine's state is.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final

from loggos.base.errors import InternalError
from loggos.base.ids import Incarnation, NodeId, Slot
from loggos.base.limits import DIGEST_AGAIN_MS, SCRUB_EVERY_MS, SCRUB_IDLE_MS, SCRUB_ITEM_MS, SCRUB_PAUSE_MS
from loggos.base.steps import Digesting
from loggos.node.digests import DIGEST_EVERY, Digests, Verdict
from loggos.node.wire import DIGEST, FULL_DIGEST, Type, frame

if TYPE_CHECKING:
    from loggos.node.replica import Replica

GAVE_WAY: Final = object()


def is_due(before_ms: int, now_ms: int, items: int) -> bool:
    """Is the state, of so many items, to be compared after a batch that moved the cell's clock from `before_ms` to `now_ms`? The
    times between are powers of two: nodes that do not count alike still meet at every slot of the longer one."""
    every_ms = max(SCRUB_EVERY_MS, 1 << (items * SCRUB_ITEM_MS).bit_length())
    return before_ms // every_ms != now_ms // every_ms


class Compared:
    """One kind of digest: how it travels, what was said of it, and the newest of this node."""

    def __init__(self, name: str, kind: Type, body: struct.Struct, digests: Digests) -> None:
        self.name, self.kind, self.body, self.digests = name, kind, body, digests
        self.newest: tuple[Slot, int] | None = None

    @property
    def agreed_slot(self) -> Slot:
        return self.digests.agreed_slot


class Agreement:
    """One per replica, which hands over what it applied, ticks, and peers' frames."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        node, voters = replica.node, list(replica.engine.membership.voters)
        self.rolling = Compared("rolling", Type.DIGEST, DIGEST, Digests(node, voters))
        self.full = Compared("full", Type.FULL_DIGEST, FULL_DIGEST, Digests(node, voters))
        self._walk: Digesting | None = None  # of the scrub that is under way
        self._look_s = 0.0  # when to tell again, and to see whether the log stands still
        self._still: tuple[Slot, float] = (Slot(-1), 0.0)  # where it stood, and since when

    def applied(self, slot: Slot, before_ms: int) -> None:
        """The slot was just applied; the cell's clock stood at `before_ms` before."""
        registry = self._replica.registry
        if slot % DIGEST_EVERY == 0:
            self._tell_own(self.rolling, slot, registry.rolling_digest)
        now_ms = registry.stamps.cell_ms
        if before_ms // SCRUB_EVERY_MS != now_ms // SCRUB_EVERY_MS and is_due(before_ms, now_ms, registry.item_count()):
            self._end_walk()  # that of somebody who asked at another slot: this one is compared
            self.scrub()

    def tick(self, now_s: float) -> None:
        if now_s < self._look_s:
            return
        self._look_s = now_s + DIGEST_AGAIN_MS / 1000
        for compared in (self.rolling, self.full):
            if compared.newest is not None:
                self._tell(compared, *compared.newest)
        slot, since_s = self._still
        if slot != self._replica.registry.slot:
            self._still = (self._replica.registry.slot, now_s)
        elif now_s - since_s >= SCRUB_IDLE_MS / 1000:
            self.scrub()

    # --- scrubs --------------------------------------------------------------------------------------------------------------

    def scrub(self) -> None:
        """Begin to make the full digest of the state as it is now, unless it was made, or a scrub or a snapshot is under way."""
        registry, newest = self._replica.registry, self.full.newest
        if self._walk is not None or (newest is not None and newest[0] == registry.slot):
            return
        walk = registry.digesting()
        if next(walk, GAVE_WAY) is GAVE_WAY:
            self.gave_way()
            return
        self._walk = walk
        self._replica.world.spawner.spawn(self._scrub(registry.slot, walk), "scrub")

    def _end_walk(self) -> None:
        if self._walk is not None:
            self._walk.close()
            self._walk = None

    async def _scrub(self, slot: Slot, walk: Digesting) -> None:
        try:
            digest = await self._walked(walk)
        finally:
            walk.close()
            if self._walk is walk:
                self._walk = None
        if self._replica.stopped:
            return
        if digest is None:
            self.gave_way()
            return
        self._replica.metrics.count("scrubs")
        self._tell_own(self.full, slot, digest)
        self._replica.mesh.flush()

    def gave_way(self) -> None:
        """Nothing is lost: the others compare without this node, and it with them at the next slot that is due."""
        self._replica.metrics.count("scrubs_given_up")

    async def _walked(self, walk: Digesting) -> int | None:
        """None: it gave way, or the state that it walked over was replaced."""
        registry = self._replica.registry
        restores = registry.restores
        while True:
            await asyncio.sleep(SCRUB_PAUSE_MS / 1000)
            if self._replica.stopped or registry.restores != restores:
                return None
            try:
                next(walk)
            except StopIteration as stop:
                digest: int | None = stop.value
                return digest

    # --- telling and judging -------------------------------------------------------------------------------------------------

    def _tell_own(self, compared: Compared, slot: Slot, digest: int) -> None:
        compared.newest = (slot, digest)
        self._tell(compared, slot, digest)
        self.judge(compared, slot, self._replica.node, digest)

    def _tell(self, compared: Compared, slot: Slot, digest: int) -> None:
        mesh = self._replica.mesh
        for node in mesh.links:
            mesh.post(node, frame(compared.kind, compared.body.pack(slot, digest)))

    def on_rolling(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        self._heard(self.rolling, node, body)

    def on_full(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        self._heard(self.full, node, body)

    def _heard(self, compared: Compared, node: NodeId, body: bytes) -> None:
        slot, digest = compared.body.unpack(body)
        self.judge(compared, Slot(slot), node, digest)

    def judge(self, compared: Compared, slot: Slot, node: NodeId, digest: int) -> Verdict:
        """Take in what a node says, and act on what follows from it."""
        verdict = compared.digests.hear(slot, node, digest)
        if verdict is Verdict.WE_DIFFER:
            why = f"this node's state at slot {slot} differs from the majority's by its {compared.name} digest"
            self._replica.fatal(InternalError(f"{why}: set its data aside and restart it"))
        elif verdict is Verdict.SPLIT:
            self._replica.stop_writes(f"no two nodes agree on the state at slot {slot} by its {compared.name} digest")
        return verdict
