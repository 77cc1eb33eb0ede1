"""The httpx transports over real servers: who is asked, what is repeated, when a lease ends, what is raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from loggos.balance import CallPlan, Pool
from loggos.balance.adapters.httpx import AsyncBalancedTransport, BalancedTransport
from loggos.balance.pool import NoEndpointError
from loggos.base.errors import ConfigError
from tests.balance.real.servers import HOST, Backend, free_port, in_thread


def client(pool: Pool, **arguments: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncBalancedTransport(pool), base_url="http://users", trust_env=False)


def in_flight(pool: Pool) -> int:
    return sum(status.in_flight for status in pool.status())


def test_requests_go_around_and_reports_come_back() -> None:
    async def scenario() -> None:
        async with Backend() as one, Backend() as two:
            pool = Pool([one.address, two.address], "round_robin")
            async with client(pool) as http:
                texts = [(await http.get("/42?q=1")).text for _ in range(4)]
            assert sorted(texts) == sorted([f"from {one.port}", f"from {two.port}"] * 2)
            assert one.behaviour.served == ["GET /42 users", "GET /42 users"], "the Host header is the service's"
            assert [status.succeeded for status in pool.status()] == [2, 2] and in_flight(pool) == 0

    asyncio.run(scenario())


def test_a_reported_load_reaches_the_policy() -> None:
    """The busy server says so in its first answer; from then on the other one is chosen."""

    async def scenario() -> None:
        async with Backend() as busy, Backend() as idle:
            for _ in range(8):
                busy.load.meter.started(0.0)
            pool = Pool([busy.address, idle.address], "p2c", options={"load": "reported"}, seed=1)
            async with client(pool) as http:
                while not busy.behaviour.served:
                    await http.get("/")
                before = len(busy.behaviour.served)
                for _ in range(10):
                    await http.get("/")
            assert len(busy.behaviour.served) == before

    asyncio.run(scenario())


def test_a_lease_lasts_until_the_answer_was_read() -> None:
    async def scenario() -> None:
        async with Backend() as one:
            pool = Pool([one.address])
            async with client(pool) as http:
                async with http.stream("GET", "/") as response:
                    assert in_flight(pool) == 1
                    assert (await response.aread()).startswith(b"from")
                assert in_flight(pool) == 0
                async with http.stream("GET", "/"):
                    assert in_flight(pool) == 1
                assert in_flight(pool) == 0, "closed unread"

    asyncio.run(scenario())


def test_what_is_idempotent_goes_elsewhere_when_a_server_refuses_or_says_503() -> None:
    async def scenario() -> None:
        async with Backend() as ill, Backend() as well:
            ill.behaviour.status = 503
            pool = Pool([f"{HOST}:{free_port()}", ill.address, well.address], "round_robin")
            async with client(pool) as http:
                for _ in range(3):
                    assert (await http.get("/")).status_code == 200
            refused, said_503, _ = pool.status()
            assert refused.failed > 0 and said_503.failed > 0 and in_flight(pool) == 0

    asyncio.run(scenario())


def test_what_is_not_idempotent_is_repeated_only_if_nothing_was_sent() -> None:
    async def scenario() -> None:
        async with Backend() as ill, Backend() as well:
            pool = Pool([f"{HOST}:{free_port()}", well.address], "round_robin")
            async with client(pool) as http:
                for _ in range(2):
                    assert (await http.post("/", content=b"body")).status_code == 200, "a refused connection carried nothing"
            assert well.behaviour.bodies == [b"body", b"body"]
            ill.behaviour.status = 503
            pool = Pool([ill.address, well.address], "round_robin")
            async with client(pool) as http:
                assert sorted([(await http.post("/")).status_code for _ in range(2)]) == [200, 503]
            pool = Pool([ill.address, well.address], "round_robin", plan=CallPlan(idempotent=True))
            async with client(pool) as http:
                assert [(await http.post("/")).status_code for _ in range(4)] == [200] * 4, "told that it may"

    asyncio.run(scenario())


def test_a_stream_is_sent_once() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"part"

    async def scenario() -> None:
        async with Backend() as ill, Backend() as well:
            ill.behaviour.status = 503
            pool = Pool([ill.address, well.address], "round_robin")
            async with client(pool) as http:
                statuses = [(await http.put("/", content=body())).status_code for _ in range(2)]
            assert sorted(statuses) == [200, 503] and well.behaviour.bodies == [b"part"]

    asyncio.run(scenario())


def test_a_plan_hedges_what_is_idempotent() -> None:
    async def scenario() -> None:
        async with Backend() as hangs, Backend() as well:
            hangs.behaviour.hang = True
            pool = Pool([hangs.address, well.address], "round_robin", plan=CallPlan(hedge_after_s=0.05))
            async with client(pool) as http:
                assert [(await http.get("/")).text for _ in range(2)] == [f"from {well.port}"] * 2
            late, _ = pool.status()
            assert late.given_up == len(hangs.behaviour.served) >= 1 and in_flight(pool) == 0

    asyncio.run(scenario())


def test_a_server_that_dies_in_the_middle_of_its_answer_is_blamed() -> None:
    async def scenario() -> None:
        async with Backend() as cut:
            cut.behaviour.cut = True
            pool = Pool([cut.address])
            async with client(pool) as http:
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.get("/")
            assert pool.status()[0].failed == 1 and in_flight(pool) == 0

    asyncio.run(scenario())


def test_errors_are_httpx_errors_that_say_what_to_do() -> None:
    async def scenario() -> None:
        pool = Pool(list)
        pool.replace([f"{HOST}:{free_port()}"])
        async with client(pool) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("/")
            pool.replace([])
            with pytest.raises(httpx.ConnectError, match="has no end points: start a server") as empty:
                await http.get("/")
            assert isinstance(empty.value.__cause__, NoEndpointError)
        async with Backend() as hung:
            hung.behaviour.hang = True
            pool = Pool([hung.address], plan=CallPlan(deadline_s=0.05))
            async with client(pool) as http:
                with pytest.raises(httpx.PoolTimeout, match="did not answer within"):
                    await http.get("/")
            assert pool.status()[0].failed == 1 and in_flight(pool) == 0
        await pool.aclose()

    asyncio.run(scenario())


def test_a_cancelled_request_is_given_up_once() -> None:
    async def scenario() -> None:
        async with Backend() as hung:
            hung.behaviour.hang = True
            pool = Pool([hung.address])
            async with client(pool) as http:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(http.get("/"), 0.05)
            status = pool.status()[0]
            assert (status.in_flight, status.given_up, status.failed) == (0, 1, 0)

    asyncio.run(scenario())


def test_a_key_keeps_requests_of_one_kind_together() -> None:
    async def scenario() -> None:
        async with Backend() as one, Backend() as two:
            pool = Pool([one.address, two.address], "rendezvous")
            transport = AsyncBalancedTransport(pool, key=lambda request: request.url.path.encode())
            async with httpx.AsyncClient(transport=transport, base_url="http://users") as http:
                for path in ("/a", "/b", "/c", "/d") * 3:
                    await http.get(path)
            homes = [{line.split()[1] for line in backend.behaviour.served} for backend in (one, two)]
            assert homes[0] | homes[1] == {"/a", "/b", "/c", "/d"} and not homes[0] & homes[1]

    asyncio.run(scenario())


# --- threads ---------------------------------------------------------------------------------------------------------------


def sync_client(pool: Pool) -> httpx.Client:
    return httpx.Client(transport=BalancedTransport(pool), base_url="http://users", trust_env=False)


def test_threads_the_same() -> None:
    with in_thread(Backend, 2) as (one, two):
        pool = Pool([f"{HOST}:{free_port()}", one.address, two.address], "round_robin")
        with sync_client(pool) as http:
            assert [http.get("/").status_code for _ in range(6)] == [200] * 6
            with http.stream("GET", "/") as response:
                assert in_flight(pool) == 1
                assert b"".join(response.iter_bytes()).startswith(b"from")
        assert in_flight(pool) == 0
        assert {line.split()[2] for line in one.behaviour.served} == {"users"}


def test_threads_errors_and_streams() -> None:
    def body() -> Iterator[bytes]:
        yield b"part"

    with in_thread(Backend, 1) as (cut,):
        cut.behaviour.cut = True
        pool = Pool([cut.address])
        with sync_client(pool) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                http.get("/")
            cut.behaviour.cut, cut.behaviour.status = False, 503
            assert http.put("/", content=body()).status_code == 503
        assert cut.behaviour.bodies[-1] == b"part"
        status = pool.status()[0]
        assert (status.failed, status.in_flight) == (2, 0)
        pool.replace([])
        with sync_client(pool) as http, pytest.raises(httpx.ConnectError, match="no end points"):
            http.get("/")


def test_threads_cannot_do_what_only_asyncio_can() -> None:
    with pytest.raises(ConfigError, match="give the client its own timeout"):
        BalancedTransport(Pool(["a:1"], plan=CallPlan(try_timeout_s=1.0)))
