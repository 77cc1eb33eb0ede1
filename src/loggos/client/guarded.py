"""Guarded writes: a multi whose first operation checks the holder's own znode, so a stale holder is refused by the server.

Rules: nothing of a refused transaction is applied; an unknown outcome is said to be unknown and never repeated here.
The znode's name is unique to one acquisition (its GUID) and its version is 0 for life, so `check(path, 0)` holds exactly while
this holder does. Source: ZooKeeper multi/check; safety rules, "Fencing that is enforced".
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from kazoo.exceptions import KazooException, RolledBackError, RuntimeInconsistency

from loggos.client.errors import LockLost, WriteRefused
from loggos.client.session import Session

GUARD_VERSION = 0


class Guard(Protocol):
    """The lock in whose name is written."""

    @property
    def path(self) -> str: ...

    def check(self) -> None: ...

    def _refused(self) -> LockLost: ...


class GuardedTransaction:
    """Gathers operations; `commit` (or leaving the `with` block without an error) applies all or none of them."""

    def __init__(self, session: Session, guard: Guard) -> None:
        self._session, self._guard = session, guard
        self._request = session.client.transaction()
        self._names: list[str] = []
        self._request.check(guard.path, GUARD_VERSION)

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        """Write an existing node; `version` -1 means any."""
        self._request.set_data(path, data, version)
        self._names.append(f"set {path}")

    def create(self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False) -> None:
        self._request.create(path, data, ephemeral=ephemeral, sequence=sequence)
        self._names.append(f"create {path}")

    def delete(self, path: str, version: int = -1) -> None:
        self._request.delete(path, version)
        self._names.append(f"delete {path}")

    def check(self, path: str, version: int) -> None:
        """Apply only if the node has this version."""
        self._request.check(path, version)
        self._names.append(f"check {path}")

    def commit(self) -> list[Any]:
        """One result per operation: Stat of a set, path of a create, True else. LockLost, WriteRefused, OutcomeUnknown."""
        self._guard.check()
        results = self._session.call(self._request.commit_async)
        if self._guard_refused(results):
            raise self._guard._refused() from results[0]
        for position, result in enumerate(results[1:]):
            if _is_cause(result):
                raise WriteRefused(
                    f"nothing was written: {self._names[position]} failed ({type(result).__name__}); the lock is still held",
                    position,
                ) from result
        return list(results[1:])

    def _guard_refused(self, results: list[Any]) -> bool:
        return _is_cause(results[0])

    def __enter__(self) -> GuardedTransaction:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.commit()


def _is_cause(result: object) -> bool:
    """Is this the operation that failed (and not one that was rolled back, or not tried, because of it)?"""
    return isinstance(result, KazooException) and not isinstance(result, RolledBackError | RuntimeInconsistency)
