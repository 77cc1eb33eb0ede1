"""A shared integer that counts exactly: every `add` that returned was applied once, in spite of lost replies.

How: one multi writes the counter (compare-and-set on its version) and this object's own ephemeral *ticket*. After an unknown
outcome the ticket's version tells whether that write was applied. Only if the session ended as well, and the ticket with it, is
the outcome truly unknown: then OutcomeUnknown is raised, and nothing is repeated. The znode's data is the number in decimal, as
kazoo's Counter writes it; its children are tickets.
Not kazoo's Counter: it repeats after a lost connection, and then counts twice.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)

from loggos.base.errors import ClientError
from loggos.client.errors import OutcomeUnknown
from loggos.client.session import Session, now_s


class Counter:
    """`cluster.counter("/counters/jobs").add(1)`. Threads may share one."""

    def __init__(self, session: Session, path: str, initial: int = 0) -> None:
        self.path = path
        self._session, self._initial = session, initial
        self._mutex = threading.Lock()
        self._ticket: str | None = None
        self._ticket_version = 0
        self._ticket_epoch = -1

    @property
    def value(self) -> int:
        """The number now: not older than any `add` that returned before, anywhere (a `sync` goes first)."""
        self._session.call(self._session.client.sync_async, self.path)
        return self._read()[0]

    def add(self, delta: int = 1, timeout: float | None = None) -> int:
        """Add, and give the number just after. OutcomeUnknown: the session ended on the way; applied once or not at all."""
        deadline_s = None if timeout is None else now_s() + timeout
        with self._mutex:
            while True:
                if not self._session.wait_connected(deadline_s):
                    raise OutcomeUnknown(
                        f"nothing was added to the counter at {self.path} within {timeout:g} s: no server was reachable"
                    )
                added = self._attempt(delta, deadline_s)
                if added is not None:
                    return added

    def _attempt(self, delta: int, deadline_s: float | None) -> int | None:
        """The new number, or None when nothing was applied: try again."""
        try:
            self._need_ticket()
            number, version = self._read()
        except OutcomeUnknown:
            return None  # no write of the counter is under way
        assert self._ticket is not None
        request = self._session.client.transaction()
        request.set_data(self.path, b"%d" % (number + delta), version)
        request.set_data(self._ticket, b"", self._ticket_version)
        try:
            results = self._session.call(request.commit_async)
        except OutcomeUnknown:
            return number + delta if self._was_applied(deadline_s) else None
        if not self._refused(results):
            self._ticket_version += 1
            return number + delta
        return None

    def _refused(self, results: list[Any]) -> bool:
        """Was the multi refused because another was first, or the ticket is gone? Any other reason is raised."""
        for position, result in enumerate(results):
            if isinstance(result, BadVersionError | NoNodeError):
                if position == 1:
                    self._ticket = None
                return True
            if isinstance(result, KazooException) and not isinstance(result, RolledBackError | RuntimeInconsistency):
                raise result
        return False

    def _was_applied(self, deadline_s: float | None) -> bool:
        """After an unknown outcome: did the ticket move? OutcomeUnknown when the ticket went with its session."""
        assert self._ticket is not None
        client = self._session.client
        while True:
            if not self._session.wait_connected(deadline_s):
                raise OutcomeUnknown(
                    f"an addition to the counter at {self.path} was applied once or not at all: the connection was lost"
                )
            try:
                self._session.call(client.sync_async, self._ticket)
                stat = self._session.call(client.exists_async, self._ticket)
            except OutcomeUnknown:
                continue
            if stat is None:
                self._ticket = None
                raise OutcomeUnknown(
                    f"an addition to the counter at {self.path} was applied once or not at all: the session ended meanwhile"
                )
            applied = int(stat.version) > self._ticket_version
            self._ticket_version = int(stat.version)
            return applied

    def _need_ticket(self) -> None:
        if self._ticket is not None and self._ticket_epoch == self._session.epoch:
            return
        client, call = self._session.client, self._session.call
        epoch = self._session.epoch
        ticket = f"{self.path}/{uuid.uuid4().hex}"
        try:
            call(client.create_async, ticket, b"", ephemeral=True)
        except NoNodeError:
            self._make_counter()
            call(client.create_async, ticket, b"", ephemeral=True)
        self._ticket, self._ticket_version, self._ticket_epoch = ticket, 0, epoch

    def _make_counter(self) -> None:
        try:
            self._session.call(self._session.client.create_async, self.path, b"%d" % self._initial, makepath=True)
        except NodeExistsError:
            pass

    def _read(self) -> tuple[int, int]:
        try:
            data, stat = self._session.call(self._session.client.get_async, self.path)
        except NoNodeError:
            self._make_counter()
            data, stat = self._session.call(self._session.client.get_async, self.path)
        try:
            return int(data or b"0"), int(stat.version)
        except ValueError as error:
            raise ClientError(
                f"the node {self.path} holds {data[:40]!r}, which is no number: it is not a counter; use another path"
            ) from error
