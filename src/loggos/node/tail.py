"""How much of the applied log stays in memory for followers that lag a little: the newest LOG_TAIL_BYTES, more while
somebody who gets a snapshot, or has just got one, still needs what came after it.

Pure bookkeeping of slots and bytes; the engine holds the entries. Each follower has a pin of its own, and the lowest
counts. Pins bound nothing above the pinned maximum: beyond it the log goes, and a transfer starts again.
"""

from __future__ import annotations

from collections import deque

from loggos.base.ids import NodeId, Slot
from loggos.base.limits import LOG_TAIL_PINNED_BYTES_MAX

ENTRY_OVERHEAD_BYTES = 200  # an entry's Python objects, so that tiny batches count for what they cost


class LogTail:
    def __init__(self, bytes_max: int, pinned_bytes_max: int = LOG_TAIL_PINNED_BYTES_MAX) -> None:
        self._bytes_max, self._pinned_bytes_max = bytes_max, pinned_bytes_max
        self._ends: deque[tuple[Slot, int]] = deque()  # of consecutive slots: bytes up to and with this one, since the start
        self._forgotten_bytes = 0
        self._total_bytes = 0
        self._pins: dict[NodeId, Slot] = {}
        self.pinned: Slot | None = None  # everything above it is kept for somebody

    def applied(self, slot: Slot, size_bytes: int) -> None:
        self._total_bytes += size_bytes + ENTRY_OVERHEAD_BYTES
        self._ends.append((slot, self._total_bytes))

    def pin(self, node: NodeId, slot: Slot) -> None:
        """Keep everything above `slot` for `node`, in the place of what was kept for it before."""
        self._pins[node] = slot
        self.pinned = min(self._pins.values())

    def unpin(self, node: NodeId) -> None:
        """Keep nothing for `node` any more."""
        self._pins.pop(node, None)
        self.pinned = min(self._pins.values()) if self._pins else None

    def is_near(self, slot: Slot) -> bool:
        """Is everything above `slot` kept without any pin, and for a while yet?"""
        if not self._ends or slot >= self._ends[-1][0]:
            return True
        position = slot - self._ends[0][0]  # slots are consecutive
        before = self._ends[position][1] if position >= 0 else self._forgotten_bytes
        return position >= -1 and self._total_bytes - before <= self._bytes_max // 2

    def reset(self) -> None:
        """A snapshot replaced the log that was held."""
        self._ends.clear()
        self._forgotten_bytes = self._total_bytes

    def compactable(self) -> Slot:
        """Forget the oldest beyond the bound; the highest slot forgotten by this call, 0 for none."""
        forgotten = Slot(0)
        while self._total_bytes - self._forgotten_bytes > self._bytes_max and self._ends:
            slot, end = self._ends[0]
            if self._is_pinned(slot):
                break
            self._ends.popleft()
            self._forgotten_bytes = end
            forgotten = slot
        return forgotten

    def _is_pinned(self, slot: Slot) -> bool:
        within = self._total_bytes - self._forgotten_bytes <= self._pinned_bytes_max
        return self.pinned is not None and slot > self.pinned and within
