"""What a pool does on its own: sources of members, health checks, probes; in loops, in threads, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from loggos.balance import Pool, TcpCheck
from loggos.balance.pool import Check, NoEndpointError, PoolClosedError
from loggos.balance.types import Endpoint, Report
from loggos.base.errors import ConfigError
from tests.balance.pool.books import Books, pool_of, virtual


def names(pool: Pool) -> list[str]:
    return [endpoint.name for endpoint in pool.endpoints()]


# --- sources ---------------------------------------------------------------------------------------------------------------


def test_a_source_is_asked_again_and_again() -> None:
    async def scenario() -> None:
        answers = iter([["a:1"], ["a:1", "b:2"], ["b:2"]])

        async def source() -> list[str]:
            return next(answers, ["b:2"])

        async with Pool(source, refresh_s=10.0) as pool:
            seen = [names(pool)]
            for _ in range(2):
                await asyncio.sleep(11.5)
                seen.append(names(pool))
            assert seen == [["a:1"], ["a:1", "b:2"], ["b:2"]]

    virtual(scenario)


def test_the_first_request_waits_for_the_first_answer_and_not_for_ever() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        async def slow() -> list[str]:
            await asyncio.sleep(2.0)
            return ["a:1"]

        async def never() -> list[str]:
            raise LookupError("no such service")

        began_s = loop.time()
        async with Pool(slow) as pool, pool.lease() as endpoint:
            assert endpoint.name == "a:1" and loop.time() == began_s + 2.0
        pool = Pool(never, name="users")
        with pytest.raises(NoEndpointError, match=r"named none within 5 s: LookupError: no such service"):
            async with pool.lease():
                pass
        await pool.aclose()

    virtual(scenario)


@pytest.mark.parametrize("bad", [["b:2", "b:2"], ["nonsense"], LookupError("down")])
def test_a_source_in_trouble_leaves_the_members_as_they_are(bad: list[str] | Exception) -> None:
    async def scenario() -> None:
        answers: list[list[str] | Exception] = [["a:1"], bad, ["c:3"]]

        async def source() -> list[str]:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        async with Pool(source, refresh_s=10.0) as pool:
            await asyncio.sleep(11.5)
            assert names(pool) == ["a:1"]
            await asyncio.sleep(11.5)
            assert names(pool) == ["c:3"], "it is asked again afterwards"

    virtual(scenario)


def test_a_watch_tells_every_change() -> None:
    async def scenario() -> None:
        queue: asyncio.Queue[list[str]] = asyncio.Queue()

        class Watch:
            async def __aiter__(self) -> AsyncIterator[list[str]]:
                while True:
                    yield await queue.get()

        queue.put_nowait(["a:1"])
        async with Pool(Watch()) as pool:
            async with pool.lease() as endpoint:
                assert endpoint.name == "a:1"
                queue.put_nowait(["b:2"])
                await asyncio.sleep(0.001)
                assert names(pool) == ["b:2"]
            assert pool.status()[0].in_flight == 0

    virtual(scenario)


def test_closing_ends_all_work_and_nothing_starts_it_again() -> None:
    async def scenario() -> None:
        asked = 0

        async def never() -> list[str]:
            nonlocal asked
            asked += 1
            return []

        pool = Pool(never, name="users")
        waits = asyncio.ensure_future(pool.lease().__aenter__())
        await asyncio.sleep(1.0)
        before = asked
        await pool.aclose()
        with pytest.raises(PoolClosedError, match="pool users is closed"):
            await waits
        with pytest.raises(PoolClosedError):
            async with pool.lease():
                pass
        await asyncio.sleep(60.0)
        assert asked == before > 0 and len(asyncio.all_tasks()) == 1
        await pool.aclose()

    virtual(scenario)


def test_threads_wait_for_a_plain_function() -> None:
    with Pool(lambda: ["a:1"]) as pool:
        with pool.lease() as endpoint:
            assert endpoint.name == "a:1"
        assert any(thread.name == "loggos pool pool" for thread in threading.enumerate())
    assert not any(thread.name == "loggos pool pool" for thread in threading.enumerate()), "closed: no thread stays behind"


def test_a_pool_without_work_of_its_own_starts_nothing() -> None:
    before = threading.active_count()
    with Pool(["a:1"]) as pool, pool.lease():
        assert threading.active_count() == before


def test_a_pool_outlives_its_event_loop() -> None:
    """Two `asyncio.run` with one pool, as scripts and tests do."""
    asked: list[int] = []

    async def source() -> list[str]:
        asked.append(1)
        return ["a:1"]

    pool = Pool(source, refresh_s=1_000.0)

    async def use() -> None:
        async with pool.lease() as endpoint:
            assert endpoint.name == "a:1"
            await asyncio.sleep(0)

    asyncio.run(use())
    asyncio.run(use())
    assert len(asked) == 2, "the second loop asks anew"
    asyncio.run(pool.aclose())


# --- health ----------------------------------------------------------------------------------------------------------------


class Said(Check):
    """Answers as the test says."""

    ill: dict[str, None] = {}

    async def ask(self, endpoint: Endpoint) -> None:
        if endpoint.name in self.ill:
            raise ConnectionRefusedError("refused")


def test_health_falls_and_rises() -> None:
    async def scenario() -> None:
        check = Said(interval_s=1.0, fall=2, rise=3)
        async with pool_of("a:1", "b:2", "c:3", health=check, policy="round_robin") as pool:
            usable: list[int] = []
            for second in range(10):
                await asyncio.sleep(1.15)
                check.ill.update({"a:1": None}) if second < 3 else check.ill.clear()
                usable.append(sum(status.usable for status in pool.status()))
            assert usable[0] == 3 and 2 in usable[1:5] and usable[-1] == 3
            rises = usable.index(3, usable.index(2))
            assert rises >= 5, "it rose only after three answers"

    virtual(scenario)


def test_why_it_is_unhealthy_is_told_and_panic_uses_everybody() -> None:
    async def scenario() -> None:
        check = Said(interval_s=1.0, fall=1)
        check.ill.update({"a:1": None, "b:2": None})
        async with pool_of("a:1", "b:2", health=check) as pool:
            await asyncio.sleep(0.5)
            assert [status.why for status in pool.status()] == ["health check: refused"] * 2
            async with pool.lease():
                pass
        async with pool_of("a:1", "b:2", health=check, panic_below=0.0) as pool:
            await asyncio.sleep(0.5)
            with pytest.raises(NoEndpointError, match=r"a:1 \(health check: refused\), b:2 \(health check: refused\)"):
                async with pool.lease():
                    pass
        check.ill.clear()

    virtual(scenario)


def test_checks_are_checked() -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        TcpCheck(interval_s=0.0)
    with pytest.raises(ConfigError, match="counts of at least 1"):
        TcpCheck(fall=0)


# --- probes ----------------------------------------------------------------------------------------------------------------


def test_probes_that_the_policy_wants_are_sent_and_answered() -> None:
    async def scenario() -> None:
        async def probe(endpoint: Endpoint) -> Report | None:
            await asyncio.sleep(0.1)
            if endpoint.name == "b:2":
                raise LookupError("in trouble")
            return None if endpoint.name == "c:3" else Report(4, 0.5)

        books = Books()
        books.wants = ["a:1", "b:2", "c:3", "gone:4"]
        async with pool_of("a:1", "b:2", "c:3", policy=books, probe=probe) as pool:
            async with pool.lease():
                await asyncio.sleep(0.2)
            assert books.probe_answers == [("a:1", Report(4, 0.5))]

    virtual(scenario)


def test_probes_that_hang_do_not_gather() -> None:
    async def scenario() -> int:
        running = 0

        async def probe(endpoint: Endpoint) -> Report | None:
            nonlocal running
            running += 1
            await asyncio.Event().wait()
            return None

        books = Books()
        books.wants = ["a:1"]
        async with pool_of("a:1", policy=books, probe=probe) as pool:
            for _ in range(200):
                async with pool.lease():
                    await asyncio.sleep(0)
        return running

    assert virtual(scenario) == 64


def test_threads_probe_in_the_background() -> None:
    answered = threading.Event()

    class Told(Books):
        def probed(self, name: str, now_s: float, report: Report) -> None:
            super().probed(name, now_s, report)
            answered.set()

    async def probe(endpoint: Endpoint) -> Report | None:
        return Report(1, 0.5)

    books = Told()
    books.wants = ["a:1"]
    with Pool(["a:1"], books, probe=probe) as pool, pool.lease():
        assert answered.wait(10)
    assert books.probe_answers == [("a:1", Report(1, 0.5))]
