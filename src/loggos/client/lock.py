"""An exclusive, fair, fenced lock.

Rules: first come, first served (by the order of the log); not re-entrant: a thread that enters a lock it is in gets an error
instead of waiting for itself; an acquisition that fails, times out or is interrupted leaves nothing behind. A Lock object holds
no state of its own: any number of threads may use one, each acquisition stands for itself.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NamedTuple

from kazoo.exceptions import KazooException, NoNodeError

from loggos.client.errors import LockError, LockTimeout, OutcomeUnknown
from loggos.client.held import Held
from loggos.client.keeper import Keeper, give_up
from loggos.client.place import Entry, Place, Turn, child_path, in_order
from loggos.client.session import now_s


class Contender(NamedTuple):
    """One in the queue: the holder first."""

    token: int
    identifier: str
    path: str


class Lock:
    """`with cluster.lock("/locks/report") as held: …`"""

    def __init__(self, keeper: Keeper, path: str, identifier: bytes, timeout: float | None, entered: threading.local) -> None:
        self.path = path
        self.timeout = timeout
        self._keeper, self._session, self._identifier = keeper, keeper.session, identifier
        self._entered = entered  # per thread: path -> Held of the `with` blocks it is in

    def acquire(self, timeout: float | None = None) -> Held:
        """Wait for the lock; what is given holds it until `release()` or the end of its `with` block.

        `timeout` in seconds (None: the lock's own, by default for ever; 0: only if it is free): LockTimeout when it passes. A
        single answer of the server may take up to the operation timeout on top.
        """
        seconds = self.timeout if timeout is None else timeout
        deadline_s = None if seconds is None else now_s() + seconds
        while True:
            held = self._attempt(deadline_s, seconds)
            if held is not None:
                return held

    def contenders(self) -> list[Contender]:
        """The holder and those who wait, in order. A look at a moving queue: for people and tests."""
        client, call = self._session.client, self._session.call
        call(client.sync_async, self.path)
        found: list[Contender] = []
        try:
            names = in_order(call(client.get_children_async, self.path))
        except NoNodeError:
            return found
        for name in names:
            path = child_path(self.path, name)
            try:
                data, stat = call(client.get_async, path)
            except NoNodeError:
                continue
            found.append(Contender(int(stat.czxid), data.decode("utf-8", "replace"), path))
        return found

    def __enter__(self) -> Held:
        inside = self._inside()
        if self.path in inside:
            raise LockError(
                f"this thread is inside a `with` block of the lock at {self.path} already: it would wait for itself for ever"
            )
        held = self.acquire()
        inside[self.path] = held
        return held

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._inside().pop(self.path).__exit__(kind, error, trace)

    def _inside(self) -> dict[str, Held]:
        inside: dict[str, Held] | None = getattr(self._entered, "locks", None)
        if inside is None:
            inside = self._entered.locks = {}
        return inside

    # --- one attempt: everything within one session ---------------------------------------------------------------------

    def _attempt(self, deadline_s: float | None, seconds: float | None) -> Held | None:
        """The lock, or None when the session ended on the way: begin afresh. LockTimeout when the deadline passes."""
        entry = Entry(self._session, self.path, self._identifier)
        place: Place | None = None
        try:
            place = self._enter(entry, deadline_s, seconds)
            if place is not None and self._wait_turn(place, deadline_s, seconds) and self._is_current(place):
                return Held(self._keeper, place)
        except BaseException:  # also an interrupt from the keyboard: nothing may be left in the queue
            self._leave(entry, place)
            raise
        self._leave(entry, place)
        return None

    def _is_current(self, place: Place) -> bool:
        """Did the session that owns the place live on until now?"""
        return place.epoch == self._session.epoch

    def _leave(self, entry: Entry, place: Place | None) -> None:
        if place is not None:
            give_up(self._keeper, place)
        elif entry.maybe_made:
            self._keeper.abandon(self.path, entry.guid)

    def _enter(self, entry: Entry, deadline_s: float | None, seconds: float | None) -> Place | None:
        while True:
            self._wait_connected(deadline_s, seconds)
            try:
                return entry.attempt()
            except OutcomeUnknown:
                if self._session.epoch != entry.epoch:
                    return None

    def _wait_turn(self, place: Place, deadline_s: float | None, seconds: float | None) -> bool:
        """True when the place is first and known to stand; False when it is gone."""
        turn = Turn(self._session, place)
        waited = False
        while True:
            try:
                first = turn.is_first()
                if first and waited:
                    first = turn.confirm()
                if first is None:
                    return False
                if first:
                    return True
                waited = True
                if deadline_s is not None and now_s() >= deadline_s:
                    raise LockTimeout(self._timeout_message(seconds))
                turn.wait(deadline_s)
            except OutcomeUnknown:
                waited = True
                if not self._is_current(place):
                    return False
                self._wait_connected(deadline_s, seconds)

    def _wait_connected(self, deadline_s: float | None, seconds: float | None) -> None:
        if not self._session.wait_connected(deadline_s):
            raise LockTimeout(
                f"the lock at {self.path} was not acquired within {seconds:g} s: no server was reachable; check the cluster"
            )

    def _timeout_message(self, seconds: float | None) -> str:
        holder = self._holder()
        return (
            f"the lock at {self.path} was not acquired within {seconds:g} s: {holder}; wait longer or see what it does"
        )

    def _holder(self) -> str:
        try:
            first = self.contenders()[:1]
        except (OutcomeUnknown, KazooException):
            first = []
        return f"held by {first[0].identifier!r} (token {first[0].token})" if first else "the holder could not be read"
