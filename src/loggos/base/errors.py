"""The two families of error, and nothing in between.

Ours (`InternalError`): this node can no longer be trusted; it stops, loudly. Theirs (`ClientError`, `PeerError`): answered in
the protocol's own code, or the connection is closed; others are unharmed. Every message says what happened, to what, and what
to do about it.
"""

from __future__ import annotations


class LoggosError(Exception):
    """The root of every error that Loggos raises on purpose."""


class InternalError(LoggosError):
    """An invariant of this node is broken, or its disk cannot be trusted: the node stops."""


class StorageError(InternalError):
    """A write or an fsync failed (rule: never retry an fsync). The node stops; what was acknowledged is on the other voters."""


class DamageError(StorageError):
    """Stored bytes fail their checksum somewhere a torn tail cannot explain. `path` and `offset` say where."""

    def __init__(self, path: str, offset: int, why: str) -> None:
        super().__init__(f"{path} is damaged at byte {offset}: {why}")
        self.path, self.offset, self.why = path, offset, why


class OutOfSpaceError(LoggosError):
    """The disk is full: writes are refused until space is freed; reads go on."""


class ConfigError(LoggosError):
    """The configuration, the command line or the data directory cannot be used as it is. Nothing was overwritten."""


class InputError(LoggosError):
    """A file, a series or a figure that was given to work on cannot be used: the message names the place, and what to do or to
    measure next."""


class PeerError(LoggosError):
    """Another node sent what the peer protocol does not allow: its connection is closed."""


class ClientError(LoggosError):
    """A client sent what its protocol does not allow, or asked for what cannot be done."""


class FrameError(ClientError):
    """Bytes that are no frame of the protocol (too long, negative, truncated inside): the connection is closed."""


class OverloadedError(LoggosError):
    """A bounded queue is full: the caller must wait or shed load."""


class NotReadyError(LoggosError):
    """No leader is known, or this node has not caught up: try again, or another node."""
