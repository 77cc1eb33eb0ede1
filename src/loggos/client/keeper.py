"""The keeper: one thread per connection that watches over held locks and cleans up after places that were given up.

Rules: a held lock is confirmed again and again, on the leader's word (`sync`, then `exists`); it is declared lost when that has
not succeeded for the safe part of the session timeout, even if this process slept meanwhile. A place that could not be removed is
removed as soon as the connection allows. `on_lost` callbacks run here, one after another, and may use the connection.
Must not know: what a lock is for.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from kazoo.exceptions import KazooException

from loggos.base.errors import LoggosError, OverloadedError
from loggos.base.limits import LOCKS_ABANDONED_MAX
from loggos.client.errors import OutcomeUnknown
from loggos.client.place import Place, remove
from loggos.client.session import Session, now_s

_LOGGER = logging.getLogger("loggos.client")


class Kept(Protocol):
    """What the keeper looks after."""

    def look_after(self, time_s: float) -> float | None:
        """Do what is due at `time_s`; when to look again, or None when there is nothing left to look after."""
        ...


class Keeper:
    """Starts its thread with the first thing to look after; ends it with `close`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._kept: list[Kept] = []
        self._abandoned: deque[tuple[str, str]] = deque()  # (parent, GUID) of places to remove
        self._callbacks: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def keep(self, kept: Kept) -> None:
        with self.session.changed:
            self._kept.append(kept)
            self._wake()

    def abandon(self, parent: str, guid: str) -> None:
        """Remove the place made under this GUID as soon as that can be done."""
        with self.session.changed:
            if self.session.closed:
                return
            if len(self._abandoned) >= LOCKS_ABANDONED_MAX:
                raise OverloadedError(
                    f"{LOCKS_ABANDONED_MAX} places in queues wait for a connection to be removed: close this Cluster"
                )
            self._abandoned.append((parent, guid))
            self._wake()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run a user's callback on the keeper's thread."""
        with self.session.changed:
            self._callbacks.append(callback)
            self._wake()

    def close(self) -> None:
        """Wait for the thread to end; the session must be closed already."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self.session.operation_timeout_s)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="loggos-keeper", daemon=True)
            self._thread.start()
        self.session.changed.notify_all()

    def _run(self) -> None:
        while True:
            next_s = self._look_after_all()
            self._run_callbacks()
            self._remove_one()
            with self.session.changed:
                if self.session.closed and not self._kept and not self._callbacks:
                    return
                if self._callbacks or (self._abandoned and self.session.connected):
                    continue
                self.session.changed.wait(None if next_s is None else max(next_s - now_s(), 0.0))

    def _look_after_all(self) -> float | None:
        with self.session.changed:
            kept = list(self._kept)
        next_s: float | None = None
        for item in kept:
            again_s = item.look_after(now_s())
            if again_s is None:
                with self.session.changed:
                    self._kept.remove(item)
            else:
                next_s = again_s if next_s is None else min(next_s, again_s)
        return next_s

    def _run_callbacks(self) -> None:
        while self._callbacks:
            callback = self._callbacks.popleft()
            try:
                callback()
            except Exception:  # the user's code, not ours: the other locks must still be looked after
                _LOGGER.exception("an on_lost callback failed")

    def _remove_one(self) -> None:
        with self.session.changed:
            if not self._abandoned or not self.session.connected:
                return
            parent, guid = self._abandoned[0]
        try:
            remove(self.session, parent, guid)
        except OutcomeUnknown:
            return  # it stays first in line; the loop waits for the connection
        except (KazooException, LoggosError):
            _LOGGER.exception("a place under %s could not be removed; it goes when this session ends", parent)
        self._abandoned.popleft()


def give_up(keeper: Keeper, place: Place) -> None:
    """Remove a place now if the connection allows, else as soon as it does."""
    session = keeper.session
    if session.connected:
        try:
            session.call(session.client.delete_async, place.path)
            return
        except OutcomeUnknown:
            pass
        except KazooException:
            return  # gone already
    keeper.abandon(place.parent, place.guid)
