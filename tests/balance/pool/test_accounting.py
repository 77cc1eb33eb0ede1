"""Exactly once: whatever happens to leases, members and checks, and in whatever order, the books are right after every step."""

from __future__ import annotations

import asyncio
import random
import sys
import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from loggos.balance import Pool
from loggos.balance.filters.breakers import Breakers
from loggos.balance.filters.slow_start import SlowStart
from loggos.balance.policies import POLICIES
from loggos.balance.pool import Lease, NoEndpointError, PoolClosedError
from loggos.balance.types import Endpoint, Report
from tests.balance.pool.books import Books, Clock

NAMES = ["a:1", "b:2", "c:3", "d:4"]
ERRORS: list[BaseException | None] = [None, ConnectionResetError(), asyncio.CancelledError(), TimeoutError(), KeyboardInterrupt()]


class Accounting(RuleBasedStateMachine):
    """A pool beside a model of it: who is out, and how many ended how."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.books = Books()
        self.pool = Pool(NAMES, self.books, clock=self.clock, breakers=Breakers(), slow_start=SlowStart(20.0))
        self.out: dict[Lease, str] = {}
        self.ended = 0
        self.closed = False

    @rule(target=leases, avoid=st.lists(st.sampled_from(NAMES), max_size=3))
    def take(self, avoid: list[str]) -> object:
        lease = self.pool.lease(avoid=avoid)
        try:
            endpoint = lease.__enter__()
        except (NoEndpointError, PoolClosedError):
            assert self.closed or not any(status.usable for status in self.pool.status())
            return multiple()
        assert not self.closed and endpoint in self.pool.endpoints()
        usable = {status.endpoint.name for status in self.pool.status() if status.usable}
        assert endpoint.name not in avoid or usable <= set(avoid) or endpoint.name not in usable
        self.out[lease] = endpoint.name
        return lease

    @rule(
        lease=consumes(leases),
        error=st.sampled_from(ERRORS),
        word=st.sampled_from(["", "failed", "succeeded"]),
        again=st.booleans(),
    )
    def end(self, lease: Lease, error: BaseException | None, word: str, again: bool) -> None:
        if word:
            getattr(lease, word)()
        lease.report(Report(1, 0.1))
        lease.close(error)
        if again:
            lease.close(ConnectionResetError())
            lease.__exit__(None, None, None)
        del self.out[lease]
        self.ended += 1

    @rule(names=st.lists(st.sampled_from(NAMES), unique=True))
    def members_change(self, names: list[str]) -> None:
        self.pool.replace(names)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule(name=st.sampled_from(NAMES), well=st.booleans())
    def a_check_answers(self, name: str, well: bool) -> None:
        self.pool.core.checked(name, None if well else "refused", rise=1, fall=2)

    @rule()
    def close(self) -> None:
        self.pool.close()
        self.closed = True

    @invariant()
    def the_books_are_right(self) -> None:
        still = {name: list(self.out.values()).count(name) for name in NAMES}
        assert {name: count for name, count in self.books.open.items() if count} == {n: c for n, c in still.items() if c}
        assert len(self.books.finishes) == self.ended
        for status in self.pool.status():
            assert 0 <= status.in_flight <= still[status.endpoint.name], "leases from before it left are not its own"

    def teardown(self) -> None:
        for lease in list(self.out):
            lease.close()
        assert self.books.balanced


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_every_policy_keeps_count_while_members_come_and_go() -> None:
    """All policies, tasks that overlap, cancellation, members that change under load."""

    async def one(pool: Pool, dice: random.Random) -> None:
        lease = pool.lease(key=bytes([dice.randrange(256)]))
        async with asyncio.timeout(0 if dice.random() < 0.1 else None), lease:
            for _ in range(dice.randrange(5)):
                await asyncio.sleep(0)
            lease.report(Report(dice.randrange(9), dice.random()))
            if dice.random() < 0.2:
                raise ConnectionResetError

    async def probe(endpoint: Endpoint) -> Report:
        await asyncio.sleep(0)
        return Report(len(endpoint.name), 0.5)

    async def scenario(policy: str) -> None:
        dice = random.Random(7)
        pool = Pool(NAMES, policy, seed=3, probe=probe)
        for _ in range(30):
            await asyncio.gather(*(one(pool, dice) for _ in range(10)), return_exceptions=True)
            pool.replace(dice.sample(NAMES, dice.randrange(1, 5)))
            assert all(status.in_flight == 0 for status in pool.status())
        await pool.aclose()

    for policy in POLICIES:
        asyncio.run(scenario(policy))


def test_threads_hammer_one_pool() -> None:
    books = Books(spin=1_000)
    pool = Pool(NAMES, books)
    mistakes: list[BaseException] = []
    gate = threading.Barrier(9)

    def work(number: int) -> None:
        dice = random.Random(number)
        try:
            gate.wait(10)
            for turn in range(200):
                lease = pool.lease()
                try:
                    with lease:
                        lease.report(Report(1, 0.1))
                        if dice.random() < 0.3:
                            raise ConnectionResetError
                except ConnectionResetError:
                    pass
                if number == 0:
                    pool.replace(NAMES[: 1 + turn % 4])
        except BaseException as error:
            mistakes.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads change as often as they can
    try:
        for thread in threads:
            thread.start()
        gate.wait(10)
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(usual_s)
    assert not mistakes and books.balanced and books.started_count == 8 * 200
    assert all(status.in_flight == 0 for status in pool.status())
