"""One ZooKeeper session on kazoo: its state, and calls that always end.

Rules: no call may wait without a bound (kazoo's own `get()` does, while it reconnects); a call whose outcome cannot be known
raises OutcomeUnknown and nothing else; `epoch` moves whenever a session ended, so what was made in an older session can be told
apart. Time is the clock that also counts while the machine sleeps, because the server's does.
Must not know: locks. Source: kazoo 2.11 `client.py`, `protocol/connection.py`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

from loggos.client.errors import ConnectError, OutcomeUnknown

UNKNOWN_OUTCOMES = (
    ConnectionLoss,
    ConnectionClosedError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    KazooTimeoutError,
)
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Seconds that never go back and go on while the machine is suspended (where the platform has such a clock)."""
    return time.clock_gettime(_CLOCK)


class SessionLogger(logging.Logger):
    """kazoo's logger, which also hears the session timeout that the server granted (kazoo tells it nowhere else)."""

    negotiated_ms: int | None = None

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if isinstance(msg, str) and msg.startswith("Session created") and len(args) >= 3 and isinstance(args[2], int):
            self.negotiated_ms = args[2]
        super().log(level, msg, *args, **kwargs)


def make_logger() -> SessionLogger:
    logger = SessionLogger("loggos.client.kazoo")
    logger.parent = logging.getLogger("loggos.client")
    logger.setLevel(logging.WARNING)
    return logger


class Session:
    """The connection's state, its epochs, and bounded calls. `changed` is notified whenever anything here moves."""

    def __init__(self, client: KazooClient, requested_s: float, operation_timeout_s: float, logger: SessionLogger) -> None:
        self.client = client
        self.operation_timeout_s = operation_timeout_s
        self.changed = threading.Condition()
        self.epoch = 0  # sessions that have ended
        self.connected = False
        self.closed = False
        self._requested_s = requested_s
        self._logger = logger
        self._process = os.getpid()
        client.add_listener(self._on_state)

    @property
    def timeout_s(self) -> float:
        """The session timeout the server granted; where that could not be learned, a cautious guess (two default ticks)."""
        negotiated = self._logger.negotiated_ms
        return negotiated / 1000 if negotiated is not None else min(self._requested_s, 4.0)

    @property
    def session_id(self) -> int | None:
        """The session's id, or None while not connected."""
        identity = self.client.client_id
        return None if identity is None else int(identity[0])

    def start(self, timeout_s: float) -> None:
        """Connect, or raise ConnectError."""
        try:
            self.client.start(timeout=timeout_s)
        except KazooTimeoutError as error:
            hosts = ", ".join(f"{host}:{port}" for host, port in self.client.hosts)
            self.close()
            raise ConnectError(
                f"no ZooKeeper-compatible server answered at {hosts} within {timeout_s:g} s: "
                "check the addresses and that a quorum is up"
            ) from error

    def close(self) -> None:
        """End the session: the server removes its ephemeral nodes at once. In a forked child: nothing, it is the parent's."""
        if os.getpid() != self._process:
            return
        with self.changed:
            if self.closed:
                return
            self.closed, self.connected = True, False
            self.epoch += 1
            self.changed.notify_all()
        self.client.stop()
        self.client.close()

    def _on_state(self, state: str) -> None:
        with self.changed:
            self.connected = state == KazooState.CONNECTED and not self.closed
            if state == KazooState.LOST:
                self.epoch += 1
            self.changed.notify_all()

    def check_usable(self) -> None:
        if os.getpid() != self._process:
            raise ConnectError("this connection was made by the parent process: call loggos.connect() again after a fork")
        if self.closed:
            raise ConnectError("this connection was closed: call loggos.connect() for another")

    def wait_connected(self, deadline_s: float | None) -> bool:
        """Wait until connected. False when the deadline passed first; ConnectError when it never will be."""
        self.check_usable()  # before the lock: after a fork it may be held by a thread that is not there
        with self.changed:
            while not self.connected:
                self.check_usable()
                remaining = None if deadline_s is None else deadline_s - now_s()
                if remaining is not None and remaining <= 0:
                    return False
                self.changed.wait(remaining)
        return True

    def call(self, start: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The answer to an asynchronous kazoo method. The protocol's own errors come as they are; the rest is OutcomeUnknown."""
        self.check_usable()
        return self.result(start(*args, **kwargs))

    def result(self, pending: Any) -> Any:
        """What a kazoo result in the making comes to, within the operation timeout."""
        try:
            return pending.get(timeout=self.operation_timeout_s)
        except UNKNOWN_OUTCOMES as error:
            raise OutcomeUnknown(
                f"no answer from the server ({type(error).__name__}): what was asked was done once or not at all; "
                "wait for the connection, then read before you repeat it"
            ) from error
