"""What was seen: the values that the checkers judge.

Times are numbers of one clock that orders everything (virtual time in simulation, a machine's monotonic clock for real processes
on one machine); two events at the same time count as unordered. Paths are text. An index is the log's (the zxid).
A recorder appends to plain lists; nothing here is clever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

Time = float

WRITES = ("create", "delete", "set", "multi", "check")  # `check` alone goes through the log, too
READS = ("get", "exists", "children")
ENDS = ("close", "expire")  # the end of a session, in the log
REAP = "reap"  # the cell deletes a container that was left empty
ATTACH = "attach"  # a session was begun, or taken up by another connection: in the log, without effect on the tree

OK = 0
NO_NODE = -101
BAD_VERSION = -103
NO_CHILDREN_FOR_EPHEMERALS = -108
NODE_EXISTS = -110
NOT_EMPTY = -111
RUNTIME_INCONSISTENCY = -2
NOT_APPLIED = (-112, -118, -124, -127)  # refused before the log: such an operation has no entry


class Outcome(Enum):
    KNOWN = "known"  # a reply came, good or bad
    UNKNOWN = "unknown"  # no reply: applied once, or not at all
    FAILED = "failed"  # certainly not applied (never sent)


class StatView(NamedTuple):
    """What a reply showed of a node; None: not shown, not checked."""

    version: int | None = None
    czxid: int | None = None
    mzxid: int | None = None
    pzxid: int | None = None
    cversion: int | None = None
    owner: int | None = None
    length: int | None = None
    children: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `create`: path is the one asked for, without a sequence suffix."""

    kind: str  # one of WRITES, READS, ENDS, or "sync", "add_watch" (persistent), "remove_watches"
    path: str = ""
    data: bytes = b""
    version: int = -1  # of a reap: the pzxid that its proposer saw
    ephemeral: bool = False
    sequential: bool = False
    container: bool = False
    parts: tuple[Request, ...] = ()  # of a multi
    watch: bool = False  # a one-shot watch was asked for
    recursive: bool = False  # of an add_watch
    linearizable: bool = False  # a read that must not be stale


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered. `zxid`: the header's; 0: not recorded."""

    code: int = OK
    zxid: int = 0
    value: bytes | None = None  # get
    stat: StatView | None = None
    path: str | None = None  # create
    children: tuple[str, ...] | None = None  # in any order
    codes: tuple[int, ...] = ()  # multi: one per part


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of a client. `sequence`: its number in the session, from 1, in the order it was sent (0 for none). `order`: the
    place
    of its reply among everything its connection received, watch events included (0: by time)."""

    process: int
    session: int
    sequence: int
    invoked_at: Time
    returned_at: Time | None
    request: Request
    outcome: Outcome
    reply: Reply | None = None
    connection: int = 0  # which of the session's connections carried it
    order: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    """One operation of the log. `code`: of a multi, that of the part that failed. `sequence`: the client's number of it, 0 where
    the recorder could not tell (see matching.py).
    """

    index: int
    session: int
    request: Request
    code: int = OK
    sequence: int = 0
    applied_at: Time | None = None  # when the first node applied it
    last_seen: int | None = None  # of an expire: the session's last index as its proposer saw it


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A watch event as a client received it. `order`: as of an Operation."""

    process: int
    session: int
    at: Time
    kind: str  # created, deleted, changed, children
    path: str
    zxid: int = 0  # 0: the server did not say
    connection: int = 0
    order: int = 0


@dataclass(slots=True)
class History:
    """Everything of one run. `operations` in any order; `log` by index."""

    operations: Sequence[Operation] = ()
    log: Sequence[Applied] = ()
    events: Sequence[WatchEvent] = ()
    session_timeouts: dict[int, Time] = field(default_factory=dict)
    kept: Sequence[tuple[int, Time, Time]] = ()  # (session, since, until): kept alive by answered pings while nothing was wrong


class Violation(NamedTuple):
    """A rule that was broken: by name, and told with the operations concerned."""

    rule: str
    message: str
