"""What a path may be, and how to take one apart. Paths are UTF-8 bytes.

Follows PathUtils.validatePath of Apache ZooKeeper, whose characters are UTF-16 units: so nothing beyond U+FFFF, no private use.
"""

from __future__ import annotations

import re
from typing import Final

from loggos.base.limits import PATH_BYTES_MAX

ROOT: Final = b"/"
_RESERVED: Final = b"/zookeeper"
QUOTA: Final = b"/zookeeper/quota"
CONFIG: Final = b"/zookeeper/config"
RESERVED_PATHS: Final = (ROOT, _RESERVED, QUOTA, CONFIG)  # exist from the start; cannot be deleted

# One or more of '/' and a name that is not '.' or '..'. Linear: every '/' starts a new name.
_WELL_FORMED: Final = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f]+)+\Z")
_FORBIDDEN: Final = re.compile("[\x80-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]")


def is_valid(path: bytes) -> bool:
    """May a node have this path? Also false where it is longer than PATH_BYTES_MAX."""
    if path == ROOT:
        return True
    if len(path) > PATH_BYTES_MAX or _WELL_FORMED.match(path) is None:
        return False
    if path.isascii():
        return True
    try:
        return _FORBIDDEN.search(path.decode("utf-8")) is None
    except UnicodeDecodeError:
        return False


def parent_of(path: bytes) -> bytes | None:
    """The path before the last '/'; None where there is no '/' or the path holds a NUL. Does not validate."""
    head, slash, _ = path.rpartition(b"/")
    if not slash or b"\0" in path:
        return None
    return head or ROOT
