"""What the clients of a node hold of its memory, all together: input that is no whole request yet, requests that wait, output
that they do not read.

Rules:
- Counted when something is held, and again when it is given back: a request that is taken whole and answered costs nothing here.
- Whoever holds most is judged by bytes times seconds: a large request that is just arriving weighs less than a small one that
  never ends.
- Over `pause_bytes` nothing more is read from those who hold most. Over `bytes_max` they are disconnected, at once, until a
  quarter is free. Who holds little notices neither.

Must not know: what is held, sockets.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from loggos.base.limits import CLIENTS_HELD_BYTES_MAX, CLIENTS_HELD_LOOK_MS, CLIENTS_HELD_PAUSE_BYTES
from loggos.base.ports import Clock

logger = logging.getLogger(__name__)

TOO_MUCH: Final = "all clients together held too much, and this one most"
_SECONDS_AT_LEAST: Final = 1.0  # so that what came just now has a weight, too


class Holder(Protocol):
    """A client's connection."""

    def held_bytes(self) -> int:
        """What it holds now."""
        ...

    def hold_back(self, on: bool) -> None:
        """Read nothing from it; or read again."""
        ...

    def evict(self, why: str) -> None:
        """Disconnect it, and drop all that it holds."""
        ...


class _Account:
    __slots__ = ("held_bytes", "since_s")

    def __init__(self, since_s: float) -> None:
        self.held_bytes = 0
        self.since_s = since_s


class Budget:
    """One per node. `total_bytes`: what is held, as last counted."""

    def __init__(
        self, clock: Clock, bytes_max: int = CLIENTS_HELD_BYTES_MAX, pause_bytes: int = CLIENTS_HELD_PAUSE_BYTES
    ) -> None:
        assert 0 < pause_bytes <= bytes_max, (pause_bytes, bytes_max)
        self._clock, self._bytes_max, self._pause_bytes = clock, bytes_max, pause_bytes
        self._accounts: dict[Holder, _Account] = {}
        self._held_back: dict[Holder, None] = {}
        self._look_at_s = 0.0
        self._is_relieving = False
        self.total_bytes = 0
        self.evictions = 0

    @property
    def held_back(self) -> int:
        """How many are not read from because of what they hold."""
        return len(self._held_back)

    def count(self, holder: Holder) -> None:
        """What the client holds has changed."""
        account = self._accounts.get(holder)
        held_bytes = holder.held_bytes()
        if account is None:
            if not held_bytes:
                return
            account = self._accounts[holder] = _Account(self._clock.monotonic())
        self.total_bytes += held_bytes - account.held_bytes
        account.held_bytes = held_bytes
        if not held_bytes:
            del self._accounts[holder]
        elif self.total_bytes > self._bytes_max and not self._is_relieving:
            self._relieve()

    def forget(self, holder: Holder) -> None:
        """The client is gone, with all that it held."""
        account = self._accounts.pop(holder, None)
        if account is not None:
            self.total_bytes -= account.held_bytes
        self._held_back.pop(holder, None)

    def sweep(self, now_s: float) -> None:
        """Now and then: hold back those who hold most, or let all of them go on."""
        if now_s < self._look_at_s or (self.total_bytes <= self._pause_bytes and not self._held_back):
            return
        self._look_at_s = now_s + CLIENTS_HELD_LOOK_MS / 1000
        self._recount()
        if self.total_bytes <= self._pause_bytes:
            held_back, self._held_back = self._held_back, {}
            for holder in held_back:
                holder.hold_back(False)
            return
        still_bytes = self.total_bytes  # of those that are read from
        for holder in self._heaviest_first():
            if still_bytes <= self._pause_bytes // 2:
                return
            still_bytes -= self._accounts[holder].held_bytes
            if holder not in self._held_back:
                self._held_back[holder] = None
                holder.hold_back(True)

    def _recount(self) -> None:
        """Output that was taken meanwhile is held no more, and nobody said so."""
        for holder in list(self._accounts):
            if holder in self._accounts:  # it may have been evicted meanwhile
                self.count(holder)

    def _relieve(self) -> None:
        self._is_relieving, self._look_at_s = True, 0.0
        before_bytes, before = self.total_bytes, self.evictions
        for holder in self._heaviest_first():
            if self.total_bytes <= self._bytes_max // 4 * 3:
                break
            self.evictions += 1
            holder.evict(TOO_MUCH)
            self.forget(holder)
        self._is_relieving = False
        logger.warning(
            "clients held too much", {"held_bytes": before_bytes, "now": self.total_bytes, "evicted": self.evictions - before}
        )

    def _heaviest_first(self) -> list[Holder]:
        now_s = self._clock.monotonic() + _SECONDS_AT_LEAST
        accounts = self._accounts
        return sorted(accounts, key=lambda holder: accounts[holder].held_bytes * (accounts[holder].since_s - now_s))
