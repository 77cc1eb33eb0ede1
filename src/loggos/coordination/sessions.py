"""Sessions as the log knows them: who is attached, up to where its commands were applied, and what it owns (rules 11 to 13).

A session is named by `index << 8 | node` of the command that made it, so an id is never used twice. `generation` counts its
connections, `sequence` the commands applied in this generation, `last_seen` is the index of the last one: expiry compares it.
Must not know: connections, timers; the tree's rules.
"""

from __future__ import annotations

from collections.abc import Callable

from loggos.base.ids import Index, SessionId


class Session:
    """One session. `identities`: (scheme, id) pairs that its connection proved, the client's ip first; the next attach clears
    them. `ephemerals`: paths of the nodes it owns. `address`: ASCII ip. `epoch`: as in Znode."""

    __slots__ = (
        "address",
        "ephemerals",
        "epoch",
        "generation",
        "id",
        "identities",
        "last_seen",
        "node",
        "password",
        "sequence",
        "timeout_ms",
    )

    def __init__(self, session: SessionId, password: bytes, epoch: int) -> None:
        self.id = session
        self.password = password
        self.node = 0
        self.timeout_ms = 0
        self.address = b""
        self.identities: tuple[tuple[bytes, bytes], ...] = ()
        self.generation = 0
        self.sequence = 0
        self.last_seen = Index(0)
        self.ephemerals: dict[bytes, None] = {}
        self.epoch = epoch

    def attach(self, node: int, timeout_ms: int, address: bytes, index: Index) -> None:
        """A new connection: the next generation, with nothing proved yet but where it comes from."""
        self.node = node
        self.timeout_ms = timeout_ms
        self.address = address
        self.identities = ((b"ip", address),)
        self.generation += 1
        self.sequence = 0
        self.last_seen = index


class SessionTable(dict[SessionId, Session]):
    """Every live session by id. Read it freely; only the machine changes it."""

    __slots__ = ("epoch", "saver")

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.saver: Callable[[Session], None] | None = None

    def before_change(self, session: Session) -> None:
        """A running snapshot keeps the session as it is now (rule 19)."""
        if self.saver is not None:
            self.saver(session)
