"""`DistributedLock(hosts)`, `acquire()`, `release()`: the interface of a well-known example, made correct.

Rules: owned by the thread that acquired it; only that thread may release it; not re-entrant (a second `acquire` by the owner
raises: it would wait for itself). Several threads may share one object, they exclude each other. A failed or timed-out `acquire`
leaves nothing behind. A lock that was lost is said to be lost, at `check()` or at the latest at `release()`: never silently.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from loggos.client.cluster import Cluster, connect
from loggos.client.errors import LockError, LockTimeout, NotHeld
from loggos.client.held import Held


class DistributedLock:
    """A lock among all processes that name the same servers and path. Connects at the first `acquire`."""

    def __init__(
        self, hosts: str = "localhost:2181", path: str = "/locks/default", *, timeout_s: float = 10.0, **options: Any
    ) -> None:
        self.hosts, self.path, self.timeout_s = hosts, path, timeout_s
        self._options = options
        self._connecting = threading.Lock()
        self._cluster: Cluster | None = None
        self._mine = threading.local()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock: True when held; False when `timeout` seconds passed. ConnectError when no server answers."""
        if self._held() is not None:
            raise LockError(f"this thread holds the lock at {self.path} already: release it first, it is not re-entrant")
        try:
            self._mine.held = self._connected(timeout).lock(self.path).acquire(timeout)
        except LockTimeout:
            return False
        return True

    def release(self) -> None:
        """Release. NotHeld when this thread does not hold it; LockLost when it had been lost meanwhile."""
        held = self._owned()
        self._mine.held = None
        held.release()

    @property
    def token(self) -> int:
        """The fencing token of the current hold."""
        return self._owned().token

    @property
    def held(self) -> Held:
        """The current hold, with its guarded writes and `on_lost`."""
        return self._owned()

    def check(self) -> None:
        """Return while surely held; LockLost otherwise."""
        self._owned().check()

    def close(self) -> None:
        """End the connection; if the lock was held it is free for others at once. The next `acquire` connects again."""
        with self._connecting:
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def __enter__(self) -> DistributedLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        held = self._owned()
        self._mine.held = None
        held.__exit__(kind, error, trace)

    def _held(self) -> Held | None:
        held: Held | None = getattr(self._mine, "held", None)
        return held

    def _owned(self) -> Held:
        held = self._held()
        if held is None:
            raise NotHeld(
                f"this thread does not hold the lock at {self.path}: acquire it first; only the thread that did may release it"
            )
        return held

    def _connected(self, timeout: float | None) -> Cluster:
        with self._connecting:
            if self._cluster is None:
                options = dict(self._options)
                if timeout is not None:
                    options.setdefault("connect_timeout_s", max(timeout, 1.0))
                self._cluster = connect(self.hosts, timeout_s=self.timeout_s, **options)
            return self._cluster
