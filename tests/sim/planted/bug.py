"""What a planted bug is: a name, what is broken, which safety rule that is, the parts that break it, and what must be found.

Rules: production code has no switches; a bug is a subclass that overrides one method, handed to the composition root. It counts
as found by a violation of one of the rules it is expected to break: a bug that only stops the work, or breaks something else,
does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loggos.app.build import Parts
from loggos.node.member import MemberParts

# what follows from a log that is not one log any more, or that forgot something it had acknowledged
LOST = (
    "durability", "primary-order", "agreement", "gap", "digest", "acknowledged", "real-time", "read-monotonic", "read-state",
    "read-fresh", "log-order", "at-most-once", "session-order", "session-end", "node-stopped", "watch-wrong", "watch-late",
)  # fmt: skip
DIFFERS = ("agreement", "digest", "node-stopped")
STALE = ("read-fresh", "read-monotonic", "reply-zxid")


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug. `rule`: its number in the safety rules."""

    name: str
    what: str
    rule: int
    make: Callable[[], Parts]
    expected: tuple[str, ...]


def member(**parts: Any) -> Callable[[], Parts]:
    """A node whose member has other parts."""
    return lambda: Parts(member=MemberParts(**parts))


def node(**parts: Any) -> Callable[[], Parts]:
    """A node of other parts."""
    return lambda: Parts(**parts)
