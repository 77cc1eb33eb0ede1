"""How much of the applied log stays in memory for followers that lag a little: the newest LOG_TAIL_BYTES, more while
a snapshot travels.

Pure bookkeeping of (slot, bytes); the engine holds the entries.
"""

from __future__ import annotations

from collections import deque

from loggos.base.ids import Slot
from loggos.base.limits import LOG_TAIL_PINNED_BYTES_MAX

ENTRY_OVERHEAD_BYTES = 200  # an entry's Python objects, so that tiny batches count for what they cost


class LogTail:
    def __init__(self, bytes_max: int, pinned_bytes_max: int = LOG_TAIL_PINNED_BYTES_MAX) -> None:
        self._bytes_max, self._pinned_bytes_max = bytes_max, pinned_bytes_max
        self._sizes: deque[tuple[Slot, int]] = deque()
        self._bytes = 0
        self._pin: Slot | None = None

    def applied(self, slot: Slot, size_bytes: int) -> None:
        self._sizes.append((slot, size_bytes + ENTRY_OVERHEAD_BYTES))
        self._bytes += size_bytes + ENTRY_OVERHEAD_BYTES

    def pin(self, slot: Slot | None) -> None:
        """Keep everything above `slot` while a snapshot at `slot` travels; None: no longer."""
        self._pin = slot

    def reset(self) -> None:
        """A snapshot replaced the log that was held."""
        self._sizes.clear()
        self._bytes = 0

    def compactable(self) -> Slot:
        """Forget the oldest beyond the bound; the highest slot forgotten by this call, 0 for none."""
        forgotten = Slot(0)
        while self._bytes > self._bytes_max and self._sizes:
            slot, size = self._sizes[0]
            if self._pin is not None and slot > self._pin and self._bytes <= self._pinned_bytes_max:
                break
            self._sizes.popleft()
            self._bytes -= size
            forgotten = slot
        return forgotten
