"""`connect()` and the Cluster it gives: one session with Loggos or Apache ZooKeeper, and what can be built on it.

Rules: everything here is spoken in the public ZooKeeper protocol by kazoo, so all of it works on both; `is_loggos` says which it
is. A Cluster is for one process (not to be used after a fork) and any number of threads. Closing it ends the session: its locks
are free at once, its leaderships resigned.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from loggos.base.errors import ClientError
from loggos.client.counter import Counter
from loggos.client.election import Election
from loggos.client.errors import ConnectError
from loggos.client.keeper import Keeper
from loggos.client.lock import Lock
from loggos.client.session import Session, make_logger

# kazoo's own delay grows to a minute, longer than any session
_RECONNECT = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 1.0, "max_jitter": 0.2}


def connect(
    hosts: str = "127.0.0.1:2181",
    *,
    timeout_s: float = 10.0,
    connect_timeout_s: float = 15.0,
    operation_timeout_s: float | None = None,
    auth: Sequence[tuple[str, str]] = (),
    identifier: str | None = None,
    **kazoo_options: Any,
) -> Cluster:
    """Connect to a cell. `hosts`: "host:port,host:port[/chroot]".

    `timeout_s`: the session timeout asked for; locks of a process that dies are free after it. `connect_timeout_s`: how long to
    try now (ConnectError). `operation_timeout_s`: how long one answer may take (default: `timeout_s`). `auth`: ("digest",
    "user:password") pairs. `identifier`: what others see of us in queues (default host:pid). Other options go to kazoo's client
    (TLS, default_acl, …).
    """
    logger = make_logger()
    try:
        client = KazooClient(
            hosts=hosts,
            timeout=timeout_s,
            auth_data=list(auth) or None,
            connection_retry=_RECONNECT,
            logger=logger,
            **kazoo_options,
        )
    except (ValueError, TypeError) as error:
        raise ClientError(f"cannot connect to {hosts!r}: {error}; give host:port,host:port") from error
    session = Session(client, timeout_s, operation_timeout_s or timeout_s, logger)
    session.start(connect_timeout_s)
    return Cluster(session, identifier or f"{socket.gethostname()}:{os.getpid()}")


class Cluster:
    """A connected session. A context manager: leaving it closes the session."""

    def __init__(self, session: Session, identifier: str) -> None:
        self.identifier = identifier
        self._session = session
        self._keeper = Keeper(session)
        self._entered = threading.local()
        self._is_loggos: bool | None = None

    @property
    def kazoo(self) -> KazooClient:
        """The kazoo client underneath, for everything that has no shorter form here."""
        return self._session.client

    @property
    def is_loggos(self) -> bool:
        """Is the server Loggos (and not Apache ZooKeeper or another)? Asked once, by the four-letter word `srvr`."""
        if self._is_loggos is None:
            try:
                answer = str(self._session.client.command(b"srvr"))
            except (OSError, KazooException) as error:
                raise ConnectError(
                    "the server could not be asked what it is (four-letter word srvr): not connected; try again"
                ) from error
            self._is_loggos = "loggos" in answer.lower()
        return self._is_loggos

    @property
    def connected(self) -> bool:
        return self._session.connected

    @property
    def session_id(self) -> int | None:
        """The session's id, None while not connected."""
        return self._session.session_id

    @property
    def session_timeout_s(self) -> float:
        """The session timeout that the server granted."""
        return self._session.timeout_s

    def lock(self, path: str, *, timeout: float | None = None, identifier: str | None = None) -> Lock:
        """An exclusive lock. `timeout`: how long `with` waits, in seconds (None: for ever)."""
        return Lock(self._keeper, _checked(path), self._named(identifier), timeout, self._entered)

    def election(self, path: str, *, identifier: str | None = None) -> Election:
        """An election for one office."""
        return Election(Lock(self._keeper, _checked(path), self._named(identifier), None, self._entered))

    def counter(self, path: str, *, initial: int = 0) -> Counter:
        """A shared integer; made with `initial` at its first use."""
        return Counter(self._session, _checked(path), initial)

    def close(self) -> None:
        """End the session; held locks are lost to this process and free for others. Again: nothing."""
        self._session.close()
        self._keeper.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _named(self, identifier: str | None) -> bytes:
        return (self.identifier if identifier is None else identifier).encode()


def _checked(path: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or path == "/" or any(part in ("", ".", "..") for part in parts[1:]):
        raise ClientError(f"{path!r} is no path for this: give an absolute one, such as /locks/report")
    return path
