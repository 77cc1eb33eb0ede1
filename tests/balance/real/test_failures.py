"""A pool over real sockets while servers die, refuse, hang and come back: correctness, not speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from loggos.balance import CallPlan, HttpCheck, HttpProbe, Pool, TcpCheck
from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.middleware import HEADER, PROBE_PATH, parse_report
from loggos.balance.pool import DeadlineExceededError, PoolError, Verdict
from loggos.balance.pool.http1 import Answer, BadAnswerError, Getter
from loggos.balance.types import Endpoint, Report
from loggos.base.errors import ConfigError
from tests.balance.real.servers import HOST, Backend, free_port


async def get(endpoint: Endpoint) -> Answer:
    """One GET on a connection of its own."""
    getter = Getter("/")
    try:
        return await getter.get(endpoint.name)
    finally:
        getter.close()


def judge(answer: Answer) -> Verdict:
    return Verdict(answer.status < 500, parse_report(answer.headers.get(HEADER)), answer.status == 503)


async def until(true: Callable[[], bool]) -> None:
    """Waits for something that the pool does on its own."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def statuses(pool: Pool) -> list[tuple[int, int, int, int]]:
    return [(one.in_flight, one.succeeded, one.failed, one.given_up) for one in pool.status()]


def test_a_server_dies_in_the_middle_of_requests_and_none_is_lost() -> None:
    async def scenario() -> None:
        async with Backend() as dies, Backend() as stays:
            dies.behaviour.hang = True
            pool = Pool([dies.address, stays.address], "round_robin", plan=CallPlan(idempotent=True))
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(pool.call(get, judge=judge)) for _ in range(10)]
                await until(lambda: len(dies.behaviour.served) == 5)
                await dies.stop()
            assert [call.result().status for call in calls] == [200] * 10
            assert statuses(pool) == [(0, 0, 5, 0), (0, 10, 0, 0)]

    asyncio.run(scenario())


def test_a_server_that_hangs_meets_the_deadline_and_is_ejected() -> None:
    async def scenario() -> None:
        async with Backend() as hangs, Backend() as stays:
            hangs.behaviour.hang = True
            pool = Pool([hangs.address, stays.address], "round_robin", outliers=OutlierEjection(consecutive=2))
            results = await asyncio.gather(*(pool.call(get, deadline_s=1.0) for _ in range(4)), return_exceptions=True)
            assert sum(isinstance(result, DeadlineExceededError) for result in results) == 2
            assert [one.usable for one in pool.status()] == [False, True]
            for _ in range(4):
                assert (await pool.call(get)).status == 200, "it is left out now"
            assert [one.in_flight for one in pool.status()] == [0, 0]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [TcpCheck, HttpCheck])
def test_a_server_that_refuses_is_left_out_and_taken_back(kind: type[TcpCheck] | type[HttpCheck]) -> None:
    check = kind(interval_s=0.02, timeout_s=10.0, fall=1)

    async def scenario() -> None:
        async with (
            Backend() as ill,
            Backend() as well,
            Pool([ill.address, well.address], "round_robin", health=check) as pool,
        ):
            await ill.stop()
            await until(lambda: not pool.status()[0].usable)
            assert "health check" in pool.status()[0].why
            for _ in range(4):
                assert (await pool.call(get)).status == 200, "nobody is sent there"
            await ill.start()
            await until(lambda: pool.status()[0].usable)
            for _ in range(4):
                await pool.call(get)
            assert len(ill.behaviour.served) == 2

    asyncio.run(scenario())


def test_a_server_that_drains_leaves_the_rotation() -> None:
    async def scenario() -> None:
        check = HttpCheck(interval_s=0.02, timeout_s=10.0, fall=1)
        async with (
            Backend() as drains,
            Backend() as stays,
            Pool([drains.address, stays.address], health=check) as pool,
        ):
            drains.load.drain()
            await until(lambda: not pool.status()[0].usable)
            assert pool.status()[0].why == f"health check: GET {PROBE_PATH} answered 503"
            drained = len(drains.behaviour.served)
            for _ in range(8):
                await pool.call(get)
            assert len(drains.behaviour.served) == drained

    asyncio.run(scenario())


def test_a_hung_server_fails_its_check() -> None:
    async def scenario() -> None:
        async with Backend(reports=False) as hangs, Backend() as stays:
            hangs.behaviour.hang = True
            check = HttpCheck("/healthz", interval_s=0.02, timeout_s=0.05, fall=1)
            async with Pool([hangs.address, stays.address], health=check) as pool:
                await until(lambda: not pool.status()[0].usable)
                assert pool.status()[0].why == "health check: no answer within 0.05 s"

    asyncio.run(scenario())


def test_cancelled_requests_are_finished_once() -> None:
    async def scenario() -> None:
        async with Backend() as hangs:
            hangs.behaviour.hang = True
            pool = Pool([hangs.address])
            calls = [asyncio.ensure_future(pool.call(get)) for _ in range(5)]
            await until(lambda: len(hangs.behaviour.served) == 5)
            assert statuses(pool) == [(5, 0, 0, 0)]
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert statuses(pool) == [(0, 0, 0, 5)]

    asyncio.run(scenario())


def test_members_change_while_requests_are_on_their_way() -> None:
    async def scenario() -> None:
        async with Backend() as one, Backend() as two, Backend() as three:
            backends = [one, two, three]
            pool = Pool([backend.address for backend in backends], "p2c", plan=CallPlan(idempotent=True))
            done = 0

            async def client() -> None:
                nonlocal done
                for _ in range(20):
                    assert (await pool.call(get, judge=judge)).status == 200
                    done += 1

            async def changes() -> None:
                for turn in range(30):
                    pool.replace([backend.address for backend in backends[turn % 3 :]])
                    await asyncio.sleep(0.005)

            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(client())
                group.create_task(changes())
            assert done == 100 and sum(len(backend.behaviour.served) for backend in backends) == 100
            assert all(status.in_flight == 0 for status in pool.status())

    asyncio.run(scenario())


# --- probes and checks on the wire -----------------------------------------------------------------------------------------


def test_prequal_probes_real_servers_and_leaves_the_busy_one() -> None:
    async def scenario() -> None:
        async with Backend() as busy, Backend() as idle:
            for _ in range(20):
                busy.load.meter.started(0.0)
            options = {"q_rif": 0.0}  # requests in flight alone decide
            async with Pool([busy.address, idle.address], "prequal", options=options, probe=HttpProbe(), seed=1) as pool:
                for _ in range(40):
                    await pool.call(get, judge=judge)
            assert len(busy.behaviour.served) < 12 and len(idle.behaviour.served) > 28
            assert busy.load.meter.in_flight == 20, "probes do not enter the application"

    asyncio.run(scenario())


def test_probes_say_what_the_middleware_knows() -> None:
    async def scenario() -> None:
        async with Backend() as backend:
            probe = HttpProbe()
            backend.load.meter.started(0.0)
            for _ in range(3):
                assert await probe(Endpoint(backend.address)) == Report(1, 0.0)
            await backend.stop()
            with pytest.raises(OSError):
                await probe(Endpoint(backend.address))
            await backend.start()
            assert await probe(Endpoint(backend.address)) == Report(1, 0.0), "a kept connection that broke is replaced"
            probe.close()
        async with Backend(reports=False) as plain:
            assert await HttpProbe("/")(Endpoint(plain.address)) is None

    asyncio.run(scenario())


async def raw(answer: bytes) -> tuple[asyncio.Server, str]:
    """A server that answers with these bytes and closes."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(connected, HOST, 0)
    return server, f"{HOST}:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-nonsense\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", "not HTTP/1.1|before the answer was complete"),
        (b"", "before the answer was complete|not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (65 << 10), "a body of more than 65536 bytes"),
    ],
)
def test_what_is_no_answer_is_an_error_and_never_a_hang(answer: bytes, said: str) -> None:
    async def scenario() -> None:
        server, address = await raw(answer)
        with pytest.raises(BadAnswerError, match=said):
            await Getter("/").get(address)
        server.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_kept_connection_that_ends_under_a_request_is_replaced() -> None:
    """Servers close idle connections when they like, also just as the next request comes."""
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(connected, HOST, 0)
        address = f"{HOST}:{server.sockets[0].getsockname()[1]}"
        getter = Getter("/")
        for _ in range(2):
            assert (await getter.get(address)).status == 200
        assert connections == 2
        getter.close()
        server.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_an_answer_without_keep_alive_is_an_answer() -> None:
    async def scenario() -> None:
        server, address = await raw(b"HTTP/1.0 204 No Content\r\nX-A: b\r\n\r\n")
        getter = Getter("/")
        for _ in range(2):
            answer = await getter.get(address)
            assert (answer.status, answer.headers["x-a"]) == (204, "b")
        server.close()

    asyncio.run(scenario())


def test_checks_need_addresses_and_bare_checks_ask_nothing() -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match="is no address"):
            await TcpCheck().ask(Endpoint("a name"))
        with pytest.raises(OSError, match=r"refused|Connect"):
            await TcpCheck().ask(Endpoint(f"{HOST}:{free_port()}"))

    asyncio.run(scenario())
    assert issubclass(DeadlineExceededError, PoolError) and issubclass(DeadlineExceededError, TimeoutError)
