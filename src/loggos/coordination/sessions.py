"""Sessions as the log knows them: who is attached, up to where its commands were applied, and what it owns (rules 11 to 13).

A session is named by `index << 8 | node` of the command that made it, so an id is never used twice. `generation` counts its
connections, `sequence` the commands applied in this generation, `last_seen` is the index of the last one: expiry compares it.
Must not know: connections, timers; the tree's rules.
"""

from __future__ import annotations

from loggos.base.ids import Index, SessionId


class Session:
    """One session. `identities`: (scheme, id) pairs that its connection proved, the client's ip first; the next attach clears
    them. `ephemerals`: paths of the nodes it owns. `address`: ASCII ip."""

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

    def __init__(
        self, session: SessionId, node: int, timeout_ms: int, password: bytes, address: bytes, index: Index, epoch: int
    ) -> None:
        self.id = session
        self.node = node
        self.timeout_ms = timeout_ms
        self.password = password
        self.address = address
        self.identities: tuple[tuple[bytes, bytes], ...] = ((b"ip", address),)
        self.generation = 1
        self.sequence = 0
        self.last_seen = index
        self.ephemerals: dict[bytes, None] = {}
        self.epoch = epoch
