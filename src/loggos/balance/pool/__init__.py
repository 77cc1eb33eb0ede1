"""`Pool`: load balancing inside a client.

    pool.py         what users hold
    lease.py        one request's hold on one end point
    calls.py        retries, deadlines, hedging around a function
    core.py         members, health, leases under one lock; no I/O
    upkeep.py       the pool's own work: source, health checks, probes; background.py: where it runs
    checks.py       TCP and HTTP health checks, HTTP probes; http1.py: their client
    members.py      who is in a pool, checked
    errors.py       what a pool itself raises
"""

from __future__ import annotations

from loggos.balance.pool.calls import CallPlan, Verdict
from loggos.balance.pool.checks import Check, HttpCheck, HttpProbe, Probe, TcpCheck
from loggos.balance.pool.core import EndpointStatus
from loggos.balance.pool.errors import (
    BudgetExhaustedError,
    DeadlineExceededError,
    LimitedError,
    NoEndpointError,
    PoolClosedError,
    PoolError,
)
from loggos.balance.pool.lease import Lease, blames
from loggos.balance.pool.members import split_address
from loggos.balance.pool.pool import Pool

__all__ = [
    "BudgetExhaustedError",
    "CallPlan",
    "Check",
    "DeadlineExceededError",
    "EndpointStatus",
    "HttpCheck",
    "HttpProbe",
    "Lease",
    "LimitedError",
    "NoEndpointError",
    "Pool",
    "PoolClosedError",
    "PoolError",
    "Probe",
    "TcpCheck",
    "Verdict",
    "blames",
    "split_address",
]
