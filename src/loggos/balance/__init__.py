"""Load balancing: which end point gets the next request.

    types.py      end points, reports, the seam of a policy
    policies/     who is chosen; pure
    filters/      who may be chosen: zone, panic, slow start, outliers; pure
    guards/       whether a request may be sent, again, or twice: budgets, breakers, hedging, limits, deadlines; pure
    farm/         a simulated farm of servers that the same policies serve, with published theory as its oracle
    pool.py       `Pool`: the same policies for asyncio and for threads; adapters/ for clients, middleware/ for servers

Must not know: the log, other services.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loggos.balance.pool import CallPlan, HttpCheck, HttpProbe, Pool, TcpCheck

__all__ = ["CallPlan", "HttpCheck", "HttpProbe", "Pool", "TcpCheck"]


def __getattr__(name: str) -> Any:
    """Load the pool on first use (PEP 562): whoever needs a policy only, such as a simulator, imports no event loop."""
    if name in __all__:
        from loggos.balance import pool

        return getattr(pool, name)
    raise AttributeError(f"module 'loggos.balance' has no attribute {name!r}")
