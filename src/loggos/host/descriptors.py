"""How many files and connections this process may have open at once: RLIMIT_NOFILE.

Many systems give a process 1,024 and let it raise that by itself, up to the hard limit. What the number is then shared out to
is not decided here (app/room.py).
"""

from __future__ import annotations

import resource
import sys
from typing import Final

_OPEN_MAX: Final = 10_240  # all that macOS grants where it says that there is no hard limit


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one; how many descriptors this process may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, max(soft, _OPEN_MAX)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
