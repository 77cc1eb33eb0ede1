"""What can go wrong with a pool itself, as opposed to what its end points do.

Every message says what happened, to which pool, and what to do. Errors of the request itself (a refused connection, a broken
answer) are raised as they came, with a note of what was tried.
"""

from __future__ import annotations

from loggos.base.errors import LoggosError


class PoolError(LoggosError):
    """The root of a pool's own errors."""


class NoEndpointError(PoolError):
    """No end point can be chosen: there are none, or none may be used now."""


class BudgetExhaustedError(PoolError):
    """A try failed and could have been repeated, but too many requests were retried lately. `__cause__` is why it failed."""


class DeadlineExceededError(PoolError, TimeoutError):
    """The time for a call, or for one try of it, is over. A `TimeoutError` too."""


class LimitedError(PoolError):
    """So many requests are in flight that one more is not let in."""


class PoolClosedError(PoolError):
    """The pool was closed; nothing can be leased from it any more."""
