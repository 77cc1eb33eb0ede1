"""A lock that is held: its token, whether it still is held, and writes that the server refuses once it is not.

Rules
- `token` is the creation zxid of the lock's znode: every later holder's is larger, and anyone can check it.
- The lock counts as held only for SAFE_SHARE of the session timeout after the last confirmation was *sent*: the server cannot
  expire the session before (it heard that request later than that, and a follower passes it on within half a tick). A process
  that slept, a connection that broke, a node that was deleted: `check()` raises LockLost before another can be the holder, on any
  clock that runs at the same speed here and there.
- That is a promise about time; the enforced one needs none: a guarded write carries a check of the lock's znode in the same
  multi, so the server itself refuses a holder that no longer is one. Works on every ZooKeeper.
- Lost stays lost, even if the connection comes back in time.
Source: Chubby, section 2.4 (sequencers); Kleppmann, "How to do distributed locking".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import EventType

from loggos.client.errors import LockLost, NotHeld, OutcomeUnknown
from loggos.client.guarded import GUARD_VERSION, GuardedTransaction
from loggos.client.keeper import Keeper
from loggos.client.place import Place
from loggos.client.session import now_s

SAFE_SHARE = 2 / 3  # of the session timeout: the rest covers a follower's half tick of delay and clocks that differ in speed
CONFIRM_SHARE = 1 / 6  # of the session timeout: how often a held lock is confirmed


class Held:
    """What `lock.acquire()` gives. Whoever has the object holds the lock; it may be handed to other threads."""

    def __init__(self, keeper: Keeper, place: Place) -> None:
        self._keeper, self._session, self._place = keeper, keeper.session, place
        self._confirmed_s = place.confirmed_s
        self._asked_s: float | None = None  # a confirmation is under way since then
        self._lost: str | None = None
        self._released = False
        self._callbacks: list[Callable[[], None]] = []
        self._state = threading.Lock()
        self._watch()
        keeper.keep(self)

    @property
    def token(self) -> int:
        """The fencing token: larger for every later holder of the same lock."""
        return self._place.token

    @property
    def path(self) -> str:
        """The lock's own znode. It exists, with creation zxid `token`, exactly as long as the lock is held."""
        return self._place.path

    @property
    def held(self) -> bool:
        """`check()` as a question."""
        return not self._released and self._why_lost(now_s()) is None

    def check(self) -> None:
        """Return while the lock is surely held; else raise LockLost (or NotHeld after `release`). Costs no request."""
        if self._released:
            raise NotHeld(f"the lock at {self._place.parent} (token {self.token}) was released: acquire it again")
        why = self._why_lost(now_s())
        if why is not None:
            raise self._lost_error(why)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on the keeper's thread, if the lock gets lost before it is released (or is lost already)."""
        with self._state:
            if self._lost is None:
                self._callbacks.append(callback)
                return
        self._keeper.call_soon(callback)

    def transaction(self) -> GuardedTransaction:
        """Writes that are applied all together and only while this lock is held, checked by the server."""
        return GuardedTransaction(self._session, self)

    def set(self, path: str, data: bytes, version: int = -1) -> Any:
        """Guarded write of an existing node; its new Stat. LockLost: stale holder. WriteRefused: no such node, other version."""
        with_guard = self.transaction()
        with_guard.set(path, data, version)
        return with_guard.commit()[0]

    def create(self, path: str, data: bytes = b"") -> str:
        """Guarded creation of a node; its path."""
        with_guard = self.transaction()
        with_guard.create(path, data)
        return str(with_guard.commit()[0])

    def delete(self, path: str, version: int = -1) -> None:
        """Guarded deletion of a node."""
        with_guard = self.transaction()
        with_guard.delete(path, version)
        with_guard.commit()

    def release(self) -> None:
        """Let the next one in. LockLost when it had been lost before: what was done in its name may have overlapped.

        A second time it does nothing.
        While disconnected the node is removed as soon as the connection is back; at the latest it goes with the session.
        """
        with self._state:
            if self._released:
                return
            self._released = True
        why = self._why_lost(now_s())
        try:
            self._session.call(self._session.client.delete_async, self.path)
        except NoNodeError:
            why = why or "its znode was gone"
        except OutcomeUnknown:
            self._keeper.abandon(self._place.parent, self._place.guid)
        if why is not None:
            raise self._lost_error(why)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.release()
        except LockLost:
            if error is None:  # an error of the block says more than this one
                raise

    # --- how it gets lost ------------------------------------------------------------------------------------------------

    def _why_lost(self, time_s: float) -> str | None:
        if self._lost is None and not self._released:
            if self._session_ended():
                self._lose("its session ended")
            elif self._unconfirmed_too_long(time_s):
                silent_s = time_s - self._confirmed_s
                self._lose(f"not confirmed by the server for {silent_s:.1f} s of a session of {self._session.timeout_s:g} s")
        return self._lost

    def _session_ended(self) -> bool:
        return self._session.closed or self._session.epoch != self._place.epoch

    def _unconfirmed_too_long(self, time_s: float) -> bool:
        return time_s - self._confirmed_s >= self._session.timeout_s * SAFE_SHARE

    def _lose(self, why: str) -> None:
        with self._state:
            if self._lost is not None or self._released:
                return
            self._lost = why
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._keeper.call_soon(callback)

    def _refused(self) -> LockLost:
        """The server refused the guard of a write."""
        self._lose("the server refused a guarded write: its znode is gone")
        return self._lost_error(self._lost or "released")

    def _lost_error(self, why: str) -> LockLost:
        return LockLost(
            f"the lock at {self._place.parent} (token {self.token}) is lost: {why}; another may hold it: stop, then acquire again"
        )

    # --- confirming -------------------------------------------------------------------------------------------------------

    def look_after(self, time_s: float) -> float | None:
        """The keeper's call: declare it lost when it is, ask for a confirmation when one is due."""
        if self._released or self._why_lost(time_s) is not None:
            return None
        period_s = self._session.timeout_s * CONFIRM_SHARE
        if self._asked_s is None and self._session.connected and time_s - self._confirmed_s >= period_s:
            self._ask(time_s)
        lease_end_s = self._confirmed_s + self._session.timeout_s * SAFE_SHARE
        return min(lease_end_s, max(time_s, self._confirmed_s) + period_s)

    def _watch(self) -> None:
        """Hear of the node's deletion at once; `_ask` renews the watch, which a connection takes with it when it breaks."""
        self._session.client.exists_async(self.path, self._changed).rawlink(self._seen)

    def _ask(self, time_s: float) -> None:
        self._asked_s = time_s
        client = self._session.client
        synced = client.sync_async(self.path)
        client.exists_async(self.path, self._changed).rawlink(lambda answer: self._answered(time_s, synced, answer))

    def _answered(self, sent_s: float, synced: Any, answer: Any) -> None:
        self._asked_s = None
        if self._seen(answer) and synced.successful():
            self._confirmed_s = max(self._confirmed_s, sent_s)

    def _seen(self, answer: Any) -> bool:
        """Does the answer show the node as it was made? If not, the lock is lost; if none came, nothing is known."""
        if not answer.successful():
            return False
        stat = answer.value
        if stat is None or int(stat.czxid) != self.token or int(stat.version) != GUARD_VERSION:
            self._lose("its znode was deleted or altered")
            self._wake_keeper()
            return False
        return True

    def _changed(self, event: Any) -> None:
        """The watch on the node fired (or went with its connection: the next confirmation renews it)."""
        if event.type == EventType.DELETED:
            self._lose("its znode was deleted")
            self._wake_keeper()

    def _wake_keeper(self) -> None:
        with self._session.changed:
            self._session.changed.notify_all()
