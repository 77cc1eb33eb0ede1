"""What an acceptor has told, it must hold: a check that does not wait for the loss to be felt.

Every Promise and Accepted that a node may send is written down, by life. When the same life (node and incarnation)
comes back from its disk, it must know a promise and entries no lower than what it told: else it voted and forgot
(rules 2, 6, 7). A node that lost its state comes back under another incarnation, of which nothing is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.check.history import Violation
from loggos.consensus.types import Accepted, Outgoing, Promise, Ready, Restored

TOLD_MAX = 5  # violations by life: enough to see what is wrong


class _Life:
    __slots__ = ("accepted", "promised")

    def __init__(self) -> None:
        self.promised = Ballot(0)
        self.accepted: dict[Slot, Ballot] = {}


class AcceptorWitness:
    """One per run."""

    def __init__(self, violations: list[Violation]) -> None:
        self._lives: dict[tuple[NodeId, Incarnation], _Life] = {}
        self._violations = violations

    def began(self, node: NodeId, restored: Restored) -> None:
        """A node comes up with what its disk gave: is all there that this life has told?"""
        life = self._lives.setdefault((node, restored.incarnation), _Life())
        held = {entry.slot: entry.ballot for entry in restored.entries}
        promised = max([restored.hard_state.promised, *held.values()])
        if promised < life.promised:
            self._report(f"node {node} promised {life.promised}, and came back with {promised}")
        lost = [
            slot
            for slot, ballot in life.accepted.items()
            if slot > restored.snapshot_slot and held.get(slot, Ballot(0)) < ballot
        ]
        for slot in sorted(lost)[:TOLD_MAX]:
            told = life.accepted[slot]
            self._report(f"node {node} accepted slot {slot} at {told}, and came back with {held.get(slot, 'nothing')} there")
        life.accepted = {slot: ballot for slot, ballot in life.accepted.items() if slot > restored.snapshot_slot}

    def told(self, node: NodeId, incarnation: Incarnation, messages: Iterable[Outgoing]) -> None:
        """These may leave the node now."""
        life = self._lives[node, incarnation]
        for _, message in messages:
            if isinstance(message, Accepted):
                for slot in range(message.first, message.last + 1):
                    life.accepted[Slot(slot)] = max(message.ballot, life.accepted.get(Slot(slot), Ballot(0)))
            elif isinstance(message, Promise):
                life.promised = max(life.promised, message.ballot)

    def _report(self, message: str) -> None:
        self._violations.append(Violation("durability", message))


def watched_engine(base: type[Any], witness: AcceptorWitness) -> type[Any]:
    """An engine type that tells the witness what it may send, and what it began with."""

    class WatchedEngine(base):  # type: ignore[misc]
        def __init__(self, node: NodeId, restored: Restored, **more: Any) -> None:
            witness.began(node, restored)
            self._untold: dict[int, tuple[Outgoing, ...]] = {}
            super().__init__(node, restored, **more)

        def ready(self) -> Ready | None:
            ready: Ready | None = super().ready()
            if ready is not None:
                witness.told(self.node, self.incarnation, ready.messages)
                if ready.messages_after:
                    self._untold[ready.number] = ready.messages_after
            return ready

        def persisted(self, number: int) -> None:
            witness.told(self.node, self.incarnation, self._untold.pop(number, ()))
            super().persisted(number)

    return WatchedEngine
