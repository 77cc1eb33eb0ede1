"""What HTTP says about end points and about sending again; shared by the adapters. Pure.

- A status of 500 and above speaks against the end point, a lower one does not.
- 502, 503 and 504 mean that another end point may do better: such an answer is tried again where that is allowed.
- Methods that RFC 9110 calls idempotent may be sent again, others only if nothing of them was sent.
"""

from __future__ import annotations

from typing import Final

from loggos.balance.middleware.header import HEADER, parse_report
from loggos.balance.pool.calls import Verdict

IDEMPOTENT: Final = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))  # RFC 9110, section 9.2.2
RETRIED: Final = frozenset((502, 503, 504))
MISSING: Final = "{library} is not installed, and {module} needs it: pip install loggos[balance]"

__all__ = ["HEADER", "IDEMPOTENT", "MISSING", "RETRIED", "verdict"]


def verdict(status: int, load: str | None, *, may_repeat: bool) -> Verdict:
    """What an answer says of its end point. `load`: the value of the header HEADER, if it came."""
    return Verdict(status < 500, parse_report(load), may_repeat and status in RETRIED)
