"""The incoming half of a client's connection: bytes that are no whole request yet, or that cannot be taken now.

Rules:
- What is kept here counts against what all clients of the node may hold, and its request must be whole by the door's deadline.
- Input that cannot be taken now stays here, and nothing more is read, until `unblock`.

Must not know: requests beyond their length, the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loggos.coordination.zookeeper.codec import INT32
from loggos.coordination.zookeeper.output import BLOCKED, LIVE, Output

if TYPE_CHECKING:
    from loggos.coordination.zookeeper.server import ZooKeeperDoor


class Input(Output):
    """What a `Connection` is built on. `_scan` takes what it can of the bytes it is given, and keeps the rest."""

    __slots__ = ("_blocked", "_held", "_need")

    def __init__(self, door: ZooKeeperDoor) -> None:
        super().__init__(door)
        self._held = bytearray()
        self._need = 0
        self._blocked = False

    def _keep(self, data: bytes, at: int) -> None:
        """Hold what is left of the input until `_need` bytes are there."""
        assert not self._held
        if at < len(data):
            self._held += data[at:]
            self._need = 4 + INT32.unpack_from(data, at)[0] if len(data) - at >= 4 else 4
            self.door.begun(self)
            self.service.budget.count(self)

    def _keep_more(self, data: bytes) -> bool:
        """Is the request that is held still not whole, or may it not be taken?"""
        self._held += data
        if not self._blocked and len(self._held) >= self._need:
            return False
        self.service.budget.count(self)
        return True

    def _release_held(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        self.door.whole(self)
        self.service.budget.count(self)
        return data

    def is_held_up(self) -> bool:
        """Is it on our side that what is held is not a whole request yet?"""
        return self._blocked or super().is_held_up()

    def held_bytes(self) -> int:
        return len(self._held) + super().held_bytes()

    def _block(self) -> None:
        """The input held back cannot be taken now; `unblock` tries again."""
        self._blocked = True
        self.pause(BLOCKED)

    def unblock(self) -> None:
        if not self._blocked or self.state != LIVE:
            return
        self._blocked = False
        if self._held:
            self._scan(self._release_held())
        if not self._blocked:
            self.resume(BLOCKED)

    def drop(self) -> None:
        self._held.clear()
        self.door.whole(self)

    def _scan(self, data: bytes) -> None:
        """Take every whole request."""
