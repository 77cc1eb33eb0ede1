"""What can go wrong for a user of the client, one class per thing that the user would do differently.

Every message says what happened, to what, and what to do. `LockLost` is the one that matters: from the moment it can be raised,
another process may be the holder, and nothing more must be written in the lock's name.
"""

from __future__ import annotations

from loggos.base.errors import ClientError, LoggosError


class ConnectError(LoggosError):
    """No server of the list answered in time, or the connection is gone for good."""


class OutcomeUnknown(LoggosError):
    """The connection broke, or the time was up, while a write was under way: it was applied once or not at all. Read before
    repeating it.
    """


class WriteRefused(ClientError):
    """A guarded write was refused for a reason of its own (no such node, another version, …): nothing of it was applied.

    `position` counts the caller's own operations from 0; the protocol's own error is `__cause__`.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class LockError(LoggosError):
    """The root of what locks and elections raise."""


class LockTimeout(LockError):
    """The lock was not acquired in time. No place in its queue is left behind."""


class LockLost(LockError):
    """The lock is no longer held, or can no longer be known to be held: stop working in its name."""


class NotHeld(LockError):
    """Released, or never acquired, by whoever calls."""
