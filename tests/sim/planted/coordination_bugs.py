"""Broken machines, liveness and doors: sessions, multi, watches. Safety rules 11 to 15 and 19."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from loggos.base.ids import Index, Stamps
from loggos.base.steps import Steps
from loggos.coordination import snapshot
from loggos.coordination.commands import Outcome, TreeEvent
from loggos.coordination.liveness import Liveness
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.operations import Run
from loggos.coordination.service import CoordinationService
from loggos.coordination.sessions import Session
from loggos.coordination.snapshot import Sum
from loggos.coordination.zookeeper.connection import Connection
from loggos.coordination.zookeeper.server import ZooKeeperDoor
from tests.sim.planted.bug import DIFFERS, LOST, STALE, Bug, node

# --- sessions ----------------------------------------------------------------------------------------------------------------


class EveryNodeExpires(Liveness):
    def may_expire(self) -> bool:
        return True


class ExpiresByFollowers(CoordinationService):
    """Every node proposes the expiry of sessions by what it has heard itself."""

    def make_liveness(self) -> Liveness:
        return EveryNodeExpires(self.log, self.machine)


class OldLeases(Liveness):
    def fresh_leases(self) -> None:
        return


class ExpiresAtOnce(CoordinationService):
    """A new leader goes by the leases it happened to know as a follower."""

    def make_liveness(self) -> Liveness:
        return OldLeases(self.log, self.machine)


class KeepsTouches(Liveness):
    def relay(self) -> None:
        if self.leading:
            super().relay()


class TouchesNotRelayed(CoordinationService):
    """A follower does not tell the leader which sessions live."""

    def make_liveness(self) -> Liveness:
        return KeepsTouches(self.log, self.machine)


class ExpiresActive(CoordinationMachine):
    """An expiry goes through although the session acted since."""

    def may_expire(self, session: Session, last_seen: int) -> bool:
        return True


class AnyGeneration(CoordinationMachine):
    """Commands of a session's former connections are taken."""

    def is_other_generation(self, session: Session, generation: int) -> bool:
        return False


class TakesGaps(CoordinationMachine):
    """A command is taken although one before it is missing."""

    def is_gap(self, session: Session, first_sequence: int) -> bool:
        return False


# --- apply -------------------------------------------------------------------------------------------------------------------


class ReadsItsClock(CoordinationMachine):
    """Apply asks this node's clock for the time of a change."""

    def apply(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome:
        return super().apply(first_index, stamps._replace(wall_ms=int(time.time() * 1000)), command, answer)


class ScrubsWhatComesLater(CoordinationMachine):
    """A full digest does not keep sessions as they were at its slot: it is of what the walk happens to find."""

    def make_sum(self) -> Sum:
        walk = super().make_sum()
        self.sessions.saver = None
        return walk


class StoresForItsClients(CoordinationMachine):
    """What is stored depends on whether this node owes the client an answer; no entry nor result shows it."""

    def _set_data(self, run: Run, opcode: int, xid: int, command: bytes, at: int, end: int) -> int:
        code = super()._set_data(run, opcode, xid, command, at, end)
        if run.answer and code == 0 and run.events:
            znode = self.tree.nodes[run.events[-1].path]
            znode.data = (znode.data or b"") + b"!"
        return code


class KeepsFailedMultis(CoordinationMachine):
    """What a multi did before one of its parts failed stays."""

    def take_back(self, run: Run, events_before: int) -> None:
        self.tree.undo = None
        del run.events[events_before:]


class TellsFailedMultis(CoordinationMachine):
    """Watchers are told of what a failed multi took back."""

    def take_back(self, run: Run, events_before: int) -> None:
        self.tree.roll_back()


class RestoreMerges(CoordinationMachine):
    """A snapshot that is installed brings what it holds, and takes nothing away."""

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        replace = yield from super().restoring(chunks)

        def merge() -> None:
            old = self.tree
            replace()
            for path, znode in old.nodes.items():
                if path not in self.tree.nodes and not znode.owner and not znode.children:
                    parent = self.tree.nodes.get(path.rpartition(b"/")[0] or b"/")
                    if parent is not None:
                        self.tree.nodes[path] = znode
                        self.tree.link(path, parent)

        return merge


class ForgetsSequences(CoordinationMachine):
    """A snapshot does not bring back up to where a session's commands were applied."""

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        replace = yield from super().restoring(chunks)

        def forget() -> None:
            replace()
            for session in self.sessions.values():
                session.sequence = 0

        return forget


class ChangesUnderSnapshot(CoordinationMachine):
    """A snapshot in the making does not keep what changes before the walk comes by."""

    def snapshot(self) -> Iterable[bytes]:  # type: ignore[override]
        walk = snapshot.Snapshot(self.tree, self.sessions, self.slice_items)
        self.tree.saver = self.sessions.saver = None
        return walk.slices()


# --- watches and replies -------------------------------------------------------------------------------------------------------


class EventsFirst(Connection):
    def queue_event(self, frame: bytes) -> None:
        self.out.insert(0, frame)
        self.mark_dirty()


class EventBeforeRegistration(ZooKeeperDoor):
    """An event overtakes the replies that are queued, the one that registered its watch among them."""

    def factory(self) -> Connection:
        return EventsFirst(self)


class LateEvents(Connection):
    def queue_event(self, frame: bytes) -> None:
        self.door.loop_soon(lambda: self.queue(frame))


class EventAfterReplies(ZooKeeperDoor):
    """An event leaves a loop turn later, behind replies that show its change."""

    def factory(self) -> Connection:
        return LateEvents(self)


class OwnEventLate(CoordinationService):
    """A client hears of its own change only after the reply to it."""

    def replies_before(self, event: TreeEvent) -> int:
        return event.position + 1


class SnapshotSkipsEvents(CoordinationService):
    """Clients stay connected while a snapshot replaces the state under their watches."""

    def restored(self) -> None:
        self.index = self.log.index


class SyncIsLocal(CoordinationService):
    """A sync is answered from what this node has applied."""

    def sync(self, done: Callable[[Index | None], None]) -> None:
        done(self.index)


WATCHES = ("watch-unasked", "watch-wrong", "watch-late", "watch-missed")

BUGS = (
    Bug(
        "follower-expires", "a follower lets sessions expire by its own clock and view", 13,
        node(service=ExpiresByFollowers), ("expiry",),
    ),
    Bug("no-fresh-lease", "a new leader lets sessions expire at once", 13, node(service=ExpiresAtOnce), ("expiry",)),
    Bug(
        "touches-not-relayed", "a follower keeps its sessions' touches to itself", 13,
        node(service=TouchesNotRelayed), ("expiry",),
    ),
    Bug(
        "expire-ignores-touch", "an expiry goes through although the session acted since", 13,
        node(machine=ExpiresActive), ("expiry",),
    ),
    Bug("old-generation-accepted", "a session's former connection can still write", 11, node(machine=AnyGeneration), LOST),
    Bug("sequence-gap-accepted", "a command is taken although one before it is missing", 11, node(machine=TakesGaps), LOST),
    Bug("clock-read-at-apply", "apply reads the node's clock", 14, node(machine=ReadsItsClock), DIFFERS),
    Bug(
        "scrub-races-log", "what changes under a scrub is not digested as it was", 18,
        node(machine=ScrubsWhatComesLater), ("digest", "node-stopped"),
    ),
    Bug(
        "stores-for-its-clients", "what a write stores depends on whose client it is", 18,
        node(machine=StoresForItsClients), ("digest", "node-stopped"),
    ),
    Bug(
        "multi-keeps-effects", "what a multi did before it failed stays", 15,
        node(machine=KeepsFailedMultis), ("log-result", *LOST),
    ),
    Bug("multi-fires", "watchers are told of what a failed multi took back", 15, node(machine=TellsFailedMultis), WATCHES),
    Bug(
        "restore-merges", "a snapshot that is installed takes nothing away", 19,
        node(machine=RestoreMerges), ("log-result", *LOST),
    ),
    Bug("snapshot-forgets-sequences", "a restored session has applied nothing yet", 11, node(machine=ForgetsSequences), LOST),
    Bug(
        "snapshot-races-log", "what changes under a snapshot in the making is not kept as it was", 19,
        node(machine=ChangesUnderSnapshot), LOST,
    ),
    Bug(
        "event-before-registration", "an event overtakes the reply that registered its watch", 17,
        node(door=EventBeforeRegistration), WATCHES,
    ),
    Bug("event-after-reply", "an event comes after a reply that shows its change", 17, node(door=EventAfterReplies), WATCHES),
    Bug("own-event-late", "a client hears of its own change after the reply to it", 17, node(service=OwnEventLate), WATCHES),
    Bug(
        "snapshot-skips-events", "clients stay while a snapshot replaces the state under their watches", 17,
        node(service=SnapshotSkipsEvents), (*WATCHES, *STALE),
    ),
    Bug("sync-is-local", "a sync is answered from what this node has applied", 8, node(service=SyncIsLocal), STALE),
)
