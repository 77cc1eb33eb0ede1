"""A process's own copy of a machine, kept up with the log it follows.

`MachineMirror` runs the same machine again, so a service reads it as it would in the cell's process; where the copy comes to
another result than the cell, it is wrong and says so (rule 18). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from loggos.base.errors import InternalError
from loggos.base.ids import Index, Stamps
from loggos.base.steps import all_steps
from loggos.node.registry import Machine


class Mirror(Protocol):
    """What RemoteLog keeps up to date before it tells its follower."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Become what a snapshot of the machine says."""
        ...

    def apply(self, first: Index, stamps: Stamps, command: bytes, outcome: Any) -> None:
        """A command was applied in the cell, with this outcome; its operations took the indices from `first` on."""
        ...

    def hear(self, index: Index, stamps: Stamps, machine: int, outcome: Any) -> None:
        """Another machine's outcome, if this one listens to others."""
        ...


class MachineMirror:
    """Applies to `machine` what the cell applied."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def restore(self, chunks: Iterable[bytes]) -> None:
        all_steps(self.machine.restoring(chunks))()

    def apply(self, first: Index, stamps: Stamps, command: bytes, outcome: Any) -> None:
        again = self.machine.apply(first, stamps, command, False)
        if list(again.codes) != list(outcome.codes):
            where = f"machine {self.machine.ID} at index {first}"
            raise InternalError(f"this process's copy of {where} differs from the cell's: restart this process")

    def hear(self, index: Index, stamps: Stamps, machine: int, outcome: Any) -> None:
        hearing: Any = self.machine
        hearing.on_events(index, stamps, machine, outcome)
