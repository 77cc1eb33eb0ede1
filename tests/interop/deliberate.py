"""Where Loggos answers otherwise than Apache ZooKeeper 3.8 on purpose, each with its reason: nothing else is allowed.

Some opcodes are left out of the random programs altogether and have tests of their own: TTL nodes (Loggos has none yet; ZooKeeper
has them only where they are enabled), and a check outside of a multi (ZooKeeper 3.8 never answers one that succeeds).
"""

from __future__ import annotations

from typing import Any

from tests.interop.differential import Difference
from tests.interop.frames import Reply
from tests.interop.programs import Op

NO_WATCHER, INVALID_ACL, MARSHALLING, BAD_ARGUMENTS = -121, -114, -5, -8
IPV6 = b"::1"


def error_of(item: Any) -> int | None:
    return item.error if isinstance(item, Reply) else None


def parts_of(op: Op) -> list[tuple[Any, ...]]:
    """The arguments of an operation, or of each part of a multi."""
    return [arguments for _, arguments in op.arguments] if op.kind in ("multi", "multiRead") else [op.arguments]


def newer_watcher_types(op: Op, mine: Any, theirs: Any) -> bool:
    newer = op.kind in ("checkWatches", "removeWatches") and op.arguments[1] in (4, 5)
    return newer and error_of(mine) in (0, NO_WATCHER) and error_of(theirs) == MARSHALLING


def another_ones_watch(op: Op, mine: Any, theirs: Any) -> bool:
    return op.kind == "checkWatches" and error_of(mine) == NO_WATCHER and error_of(theirs) == 0


def names_nothing(op: Op, mine: Any, theirs: Any) -> bool:
    return any(arguments and arguments[0] == b"" for arguments in parts_of(op))


def ipv6_list(op: Op, mine: Any, theirs: Any) -> bool:
    lists = [value for arguments in parts_of(op) for value in arguments if isinstance(value, tuple)]
    has_one = any(isinstance(entry, tuple) and entry[2:] == (IPV6,) for value in lists for entry in value)
    return has_one and (op.kind == "multi" or error_of(theirs) == INVALID_ACL)


def watch_on_no_path(op: Op, mine: Any, theirs: Any) -> bool:
    is_path = op.kind in ("addWatch", "checkWatches") and op.arguments[0].startswith((b"/", b"%"))
    return not is_path and (error_of(mine), error_of(theirs)) in ((BAD_ARGUMENTS, 0), (NO_WATCHER, MARSHALLING))


DELIBERATE: tuple[Difference, ...] = (
    Difference(
        "watcher types 4 and 5 (persistent, persistent recursive) came with ZooKeeper 3.9; 3.8 calls them unreadable",
        newer_watcher_types,
        True,
    ),
    Difference(
        "checkWatches is about the caller's watches; WatchManager.containsWatcher of 3.8 says yes to anybody's on that path",
        another_ones_watch,
    ),
    Difference(
        "the empty path is an alias of / in ZooKeeper's DataTree; no client sends it, and here it is no node", names_nothing, True
    ),
    Difference("an ACL may name an IPv6 address; IPAuthenticationProvider of 3.8 knows IPv4 only", ipv6_list, True),
    Difference(
        "a watch on what is no path is refused; ZooKeeper keeps it, though it can never fire, and cannot read a question for it",
        watch_on_no_path,
        True,
    ),
)
