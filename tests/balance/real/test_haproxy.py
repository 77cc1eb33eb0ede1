"""HAProxy and ours together: load reports pass through it, our probe path is its health check, a pool balances over proxies.

Function only; how they compare is bench/balance_http.py's business.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loggos.balance import CallPlan, HttpCheck, Pool
from loggos.balance.middleware import HEADER, PROBE_PATH, parse_report
from loggos.balance.types import Endpoint
from tests.balance.real.haproxy import haproxy, needs_haproxy
from tests.balance.real.servers import Backend
from tests.balance.real.test_failures import get, judge, until

pytestmark = [pytest.mark.interop, pytest.mark.process, needs_haproxy]


@pytest.mark.parametrize("algorithm", ["random(2)", "leastconn", "roundrobin"])
def test_the_same_servers_behind_either_balancer_give_the_same_answers(tmp_path: Path, algorithm: str) -> None:
    async def scenario() -> None:
        async with Backend() as one, Backend() as two:
            addresses = [one.address, two.address]
            async with haproxy(tmp_path, algorithm, addresses) as proxy:
                theirs = [await get(Endpoint(proxy)) for _ in range(20)]
            assert len(one.behaviour.served) + len(two.behaviour.served) == 20
            pool = Pool(addresses, "p2c", seed=1)
            ours = [await pool.call(get, judge=judge) for _ in range(20)]
            assert {answer.status for answer in theirs} == {answer.status for answer in ours} == {200}
            for answer in theirs + ours:
                report = parse_report(answer.headers.get(HEADER))
                assert report is not None and report.in_flight == 0, "the load report passes through"

    asyncio.run(scenario())


def test_the_probe_path_is_its_health_check_and_draining_is_seen_by_both(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Backend() as drains, Backend() as stays:
            addresses = [drains.address, stays.address]
            check = HttpCheck(interval_s=0.02, fall=1)
            async with (
                haproxy(tmp_path, "roundrobin", addresses, check=PROBE_PATH) as proxy,
                Pool(addresses, health=check) as pool,
            ):
                await get(Endpoint(proxy))
                drains.load.drain()
                await until(lambda: not pool.status()[0].usable)
                for _ in range(200):
                    before = len(drains.behaviour.served)
                    await asyncio.gather(*(get(Endpoint(proxy)) for _ in range(4)))
                    if len(drains.behaviour.served) == before:
                        break
                    await asyncio.sleep(0.02)
                assert len(drains.behaviour.served) == before, "neither sends there any more"

    asyncio.run(scenario())


def test_a_pool_balances_over_proxies_and_survives_the_loss_of_one(tmp_path: Path) -> None:
    """The usual pair of proxies, without a floating address: the pool goes to the one that is left."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    async def scenario() -> None:
        async with Backend() as backend, haproxy(tmp_path / "a", "leastconn", [backend.address]) as stays:
            async with haproxy(tmp_path / "b", "leastconn", [backend.address]) as goes:
                pool = Pool([goes, stays], "round_robin", plan=CallPlan(idempotent=True))
                for _ in range(4):
                    await pool.call(get, judge=judge)
                assert [status.succeeded for status in pool.status()] == [2, 2]
            for _ in range(4):
                assert (await pool.call(get, judge=judge)).status == 200
            gone, left = pool.status()
            assert gone.failed > 0 and left.succeeded == 6 and gone.in_flight == left.in_flight == 0

    asyncio.run(scenario())
