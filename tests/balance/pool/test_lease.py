"""Leases: the outcome of every way to end, exactly once; the pool's own errors; blame."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable

import pytest

from loggos.balance import Pool
from loggos.balance.filters.breakers import Breakers
from loggos.balance.guards.breaker import Breaker
from loggos.balance.guards.concurrency import AimdLimit
from loggos.balance.pool import Lease, LimitedError, NoEndpointError, PoolClosedError, PoolError, blames
from loggos.balance.types import Endpoint, Report
from tests.balance.pool.books import Books, Clock

REPORT = Report(3, 0.5)


class StatusError(Exception):
    """As aiohttp's: the status itself."""

    def __init__(self, status: int) -> None:
        self.status = status


class ResponseError(Exception):
    """As httpx's and requests': a response with a status code."""

    def __init__(self, status_code: int) -> None:
        self.response = type("Response", (), {"status_code": status_code})()


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (EOFError(), True),
        (ValueError("a broken answer"), True),
        (StatusError(503), True),
        (StatusError(404), False),
        (ResponseError(500), True),
        (ResponseError(422), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
        (NoEndpointError(), False),
    ],
)
def test_blame(error: BaseException, blamed: bool) -> None:
    assert blames(error) is blamed


def raising(error: BaseException) -> Callable[[Lease], None]:
    def act(lease: Lease) -> None:
        raise error

    return act


OUTCOMES: list[tuple[str, Callable[[Lease], None], tuple[int, int, int]]] = [
    ("it ends", lambda lease: None, (1, 0, 0)),
    ("it raises", raising(ConnectionResetError()), (0, 1, 0)),
    ("it is refused with reason", raising(StatusError(404)), (0, 0, 1)),
    ("it is cancelled", raising(asyncio.CancelledError()), (0, 0, 1)),
    ("it says failed", lambda lease: lease.failed(), (0, 1, 0)),
    ("it is closed before its end", lambda lease: lease.close(), (1, 0, 0)),
    ("it is closed with an error", lambda lease: lease.close(OSError()), (0, 1, 0)),
]


@pytest.mark.parametrize(("what", "act", "counts"), OUTCOMES, ids=[what for what, _, _ in OUTCOMES])
@pytest.mark.parametrize("in_loop", [True, False])
def test_every_end_counts_once(what: str, act: Callable[[Lease], None], counts: tuple[int, int, int], in_loop: bool) -> None:
    books = Books()
    pool = Pool(["a:1"], books)

    async def scenario() -> None:
        lease = pool.lease()
        async with lease as endpoint:
            assert endpoint == lease.endpoint == Endpoint("a:1") and pool.status()[0].in_flight == 1
            act(lease)

    def in_thread() -> None:
        lease = pool.lease()
        with lease:
            act(lease)

    try:
        asyncio.run(scenario()) if in_loop else in_thread()
    except (OSError, StatusError, asyncio.CancelledError):
        pass
    status = pool.status()[0]
    assert (status.succeeded, status.failed, status.given_up) == counts and status.in_flight == 0
    assert books.balanced


def test_an_explicit_word_outweighs_the_error() -> None:
    pool = Pool(["a:1"])
    lease = pool.lease()
    with pytest.raises(ValueError), lease:
        lease.succeeded()
        raise ValueError("mine, not the server's")
    assert pool.status()[0].succeeded == 1


def test_reports_and_keys_reach_the_policy() -> None:
    books = Books()
    pool = Pool(["a:1"], books)
    lease = pool.lease(key=b"k")
    with lease:
        lease.report(REPORT)
        lease.report(None)
    assert books.finishes == [("a:1", True, REPORT)] and books.keys == [b"k"]


def test_a_lease_is_used_once_and_has_no_end_point_before() -> None:
    pool = Pool(["a:1"])
    lease = pool.lease()
    with pytest.raises(PoolError, match="has no end point until it is entered"):
        _ = lease.endpoint
    with lease:
        pass
    with pytest.raises(PoolError, match=re.escape("call pool.lease() for every request")), lease:
        pass
    assert pool.status()[0].succeeded == 1


def test_a_lease_that_is_dropped_is_given_back_without_a_verdict() -> None:
    books = Books()
    pool = Pool(["a:1"], books)
    pool.lease().__enter__()
    gc.collect()
    with pool.lease():
        pass
    status = pool.status()[0]
    assert (status.given_up, status.succeeded, status.in_flight) == (1, 1, 0) and books.balanced


def test_avoid_is_kept_if_there_is_any_other() -> None:
    pool = Pool(["a:1", "b:2"], "round_robin")
    for _ in range(4):
        with pool.lease(avoid=["a:1"]) as endpoint:
            assert endpoint.name == "b:2"
    with pool.lease(avoid=["a:1", "b:2"]) as endpoint:
        assert endpoint.name in ("a:1", "b:2")


def test_a_closed_pool_grants_nothing_and_leases_that_are_out_may_end() -> None:
    pool = Pool(["a:1"], name="users")
    with pool.lease():
        pool.close()
    assert pool.status()[0].succeeded == 1
    with pytest.raises(PoolClosedError, match="pool users is closed"), pool.lease():
        pass
    with pytest.raises(PoolClosedError), pool:
        pass


def test_nobody_to_send_to_says_who_and_why() -> None:
    clock = Clock()
    pool = Pool(["a:1", "b:2"], name="users", clock=clock, breakers=Breakers(lambda: Breaker(window=2, requests_min=2)))
    for _ in range(4):
        lease = pool.lease(avoid=[status.endpoint.name for status in pool.status() if status.failed >= 2])
        with lease:
            lease.failed()
    assert not any(status.usable for status in pool.status())
    with pytest.raises(NoEndpointError, match=r"none of its 2 end points .* a:1 \(its requests failed\)"), pool.lease():
        pass
    clock.now_s += 6.0
    with pool.lease():
        assert pool.status()[0].usable, "half open"
    pool.replace([])
    with pytest.raises(NoEndpointError, match="pool users has no end points: start a server"), pool.lease():
        pass


def test_a_limit_says_so() -> None:
    pool = Pool(["a:1"], limit=AimdLimit(late_s=1.0, initial=1), name="users")
    with pool.lease(), pytest.raises(LimitedError, match="pool users: 1 requests are on their way"), pool.lease():
        pass
