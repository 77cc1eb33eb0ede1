"""The aiohttp session over real servers: who is asked, what is repeated, when a lease ends, what is raised."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from loggos.balance import CallPlan, Pool
from loggos.balance.adapters.aiohttp import BalancedSession
from loggos.base.errors import ConfigError
from tests.balance.real.servers import HOST, Backend, free_port


def in_flight(pool: Pool) -> int:
    return sum(status.in_flight for status in pool.status())


def test_requests_go_around_and_leases_end_with_their_blocks() -> None:
    async def scenario() -> None:
        async with Backend() as one, Backend() as two:
            pool = Pool([one.address, two.address], "round_robin")
            async with BalancedSession(pool, "http://users/v1/") as session:
                for _ in range(4):
                    async with session.get("42", params={"q": "1"}) as response:
                        assert in_flight(pool) == 1
                        assert (await response.text()).startswith("from")
                    assert in_flight(pool) == 0
                response = await session.post("/create", json={"a": 1})
                assert response.status == 200 and (await response.read()).startswith(b"from"), "read whole before the lease ended"
                assert in_flight(pool) == 0
            assert one.behaviour.served[:2] == ["GET /v1/42 users"] * 2
            assert b'{"a": 1}' in one.behaviour.bodies + two.behaviour.bodies

    asyncio.run(scenario())


def test_every_method_is_sent_as_what_it_is() -> None:
    async def scenario() -> None:
        async with Backend() as one:
            async with BalancedSession(Pool([one.address]), "http://users") as session:
                for method in ("get", "options", "post", "put", "patch", "delete"):
                    assert (await getattr(session, method)("/")).status == 200
            assert [line.split()[0] for line in one.behaviour.served] == ["GET", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]

    asyncio.run(scenario())


def test_repeated_elsewhere_or_not() -> None:
    async def scenario() -> None:
        async with Backend() as ill, Backend() as well:
            ill.behaviour.status = 503
            pool = Pool([f"{HOST}:{free_port()}", ill.address, well.address], "round_robin")
            async with BalancedSession(pool, "http://users") as session:
                assert [(await session.get("/")).status for _ in range(3)] == [200] * 3
            pool = Pool([ill.address, well.address], "round_robin")
            async with BalancedSession(pool, "http://users") as session:
                assert sorted([(await session.post("/", data=b"x")).status for _ in range(2)]) == [200, 503]
            assert in_flight(pool) == 0

    asyncio.run(scenario())


def test_failures_are_blamed_and_cancellation_is_not() -> None:
    async def scenario() -> None:
        async with Backend() as one:
            pool = Pool([one.address])
            async with BalancedSession(pool, "http://users") as session:
                one.behaviour.cut = True
                with pytest.raises(aiohttp.ClientPayloadError):
                    await session.get("/")
                one.behaviour.cut, one.behaviour.hang = False, True
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(session.get("/").__aenter__(), 0.05)
            status = pool.status()[0]
            assert (status.failed, status.given_up, status.in_flight) == (1, 1, 0)

    asyncio.run(scenario())


def test_errors_are_aiohttp_errors_that_say_what_to_do() -> None:
    async def scenario() -> None:
        async with Backend() as hung:
            hung.behaviour.hang = True
            pool = Pool([hung.address], plan=CallPlan(deadline_s=0.05))
            async with BalancedSession(pool, "http://users") as session:
                with pytest.raises(aiohttp.ServerTimeoutError, match="did not answer within"):
                    await session.get("/")
                pool.replace([])
                with pytest.raises(aiohttp.ClientConnectionError, match="no end points"):
                    await session.get("/")

    asyncio.run(scenario())
    with pytest.raises(ConfigError, match="give a scheme and the name"):
        BalancedSession(Pool(["a:1"]), "users")


def test_a_given_session_stays_open() -> None:
    async def scenario() -> None:
        async with Backend() as one, aiohttp.ClientSession() as mine:
            async with BalancedSession(Pool([one.address]), "http://users", mine) as session:
                await session.get("/")
            assert not mine.closed

    asyncio.run(scenario())
