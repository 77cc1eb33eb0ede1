"""Calls in virtual time: what is repeated and where, budgets, deadlines to the millisecond, hedges, cancellation."""

from __future__ import annotations

import asyncio
import time

import pytest

from loggos.balance import CallPlan, Pool
from loggos.balance.guards.budget import RetryBudget
from loggos.balance.guards.hedging import Hedging
from loggos.balance.pool import (
    BudgetExhaustedError,
    DeadlineExceededError,
    Lease,
    NoEndpointError,
    PoolClosedError,
    Verdict,
)
from loggos.balance.pool.calls import Call
from loggos.balance.types import Endpoint, Report
from loggos.base.errors import ConfigError
from loggos.base.limits import CALL_BACKOFF_S
from tests.balance.pool.books import Books, after, answers, elapsed, fails, pool_of, virtual

RESET = ConnectionResetError("reset")


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_a_failed_try_goes_elsewhere_soon() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        began_s = now_s()
        send = answers(a=after(0, "from a"), b=fails(RESET))
        results = [await pool.call(send, idempotent=True) for _ in range(4)]
        assert results == ["from a"] * 4
        assert books.balanced and {name for name, ok, _ in books.finishes if not ok} == {"b"}
        assert 0 < elapsed(began_s) < 4 * CALL_BACKOFF_S

    virtual(scenario)


def test_what_is_not_idempotent_is_never_repeated() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        with pytest.raises(ConnectionResetError):
            await pool.call(answers(a=fails(RESET), b=fails(RESET)))
        assert books.started_count == 1
        with pytest.raises(ConfigError, match="hedging sends a request twice"):
            await pool.call(answers(), hedge_after_s=0.1)

    virtual(scenario)


def test_unless_nothing_was_sent() -> None:
    async def scenario() -> None:
        pool = pool_of("a", "b", plan=CallPlan(unsent=(ConnectionRefusedError,)))
        send = answers(a=fails(ConnectionRefusedError()), b=after(0, "from b"))
        assert [await pool.call(send) for _ in range(3)] == ["from b"] * 3

    virtual(scenario)


def test_after_the_last_try_the_error_comes_as_it_is_with_a_note() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", "c", policy=books)
        with pytest.raises(ConnectionResetError) as raised:
            await pool.call(answers(a=fails(RESET), b=fails(RESET), c=fails(RESET)), idempotent=True, tries=3)
        (note,) = raised.value.__notes__
        assert note.startswith("pool pool tried ") and sorted(note[16:].split(", ")) == ["a", "b", "c"]
        assert books.started_count == 3 and books.balanced

    virtual(scenario)


def test_an_error_that_blames_nobody_is_not_repeated() -> None:
    class NotFoundError(Exception):
        status = 404

    async def scenario() -> None:
        pool = pool_of("a", "b")
        with pytest.raises(NotFoundError):
            await pool.call(answers(a=fails(NotFoundError()), b=fails(NotFoundError())), idempotent=True)
        assert sum(status.given_up for status in pool.status()) == 1

    virtual(scenario)


def test_a_judge_tells_bad_results_and_reports() -> None:
    def judge(result: str) -> Verdict:
        return Verdict(result != "503", Report(2, 0.5), retry=result == "503")

    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        send = answers(a=after(0, "200"), b=after(0, "503"))
        assert [await pool.call(send, judge=judge, idempotent=True) for _ in range(2)] == ["200"] * 2
        assert ("b", False, Report(2, 0.5)) in books.finishes and ("a", True, Report(2, 0.5)) in books.finishes
        both = answers(a=after(0, "503"), b=after(0, "503"))
        assert await pool.call(both, judge=judge, idempotent=True) == "503", "the last result, when none is good"
        assert await pool.call(both, judge=judge) == "503" and books.balanced

    virtual(scenario)


def test_the_budget_ends_retries_and_says_so() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books, retry_budget=RetryBudget(share=0.0, per_s_min=0.1, window_s=10.0))
        send = answers(a=fails(RESET), b=fails(RESET))
        with pytest.raises(BudgetExhaustedError, match="too many requests were retried lately") as raised:
            await pool.call(send, idempotent=True)
        assert raised.value.__cause__ is RESET and books.started_count == 2, "one retry was in the budget"
        await asyncio.sleep(11)
        with pytest.raises(BudgetExhaustedError):
            await pool.call(send, idempotent=True)
        assert books.started_count == 4, "and one again after its window"

    virtual(scenario)


def test_a_retry_that_would_come_too_late_is_no_matter_of_the_budget() -> None:
    async def scenario() -> None:
        pool = pool_of("a", "b")
        for _ in range(3):
            await pool.call(answers(a=after(1.0, "a"), b=after(1.0, "b")))
        send = answers(a=fails(RESET, 0.5), b=fails(RESET, 0.5))
        with pytest.raises(ConnectionResetError):
            await pool.call(send, idempotent=True, deadline_s=1.4)

    virtual(scenario)


def test_retries_do_not_multiply_the_load_of_a_failing_service() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books, retry_budget=RetryBudget(share=0.2, per_s_min=0.0))
        failed = 0
        for _ in range(200):
            try:
                await pool.call(answers(a=fails(RESET), b=fails(RESET)), idempotent=True)
            except (BudgetExhaustedError, ConnectionResetError):
                failed += 1
        assert failed == 200 and 230 <= books.started_count <= 240

    virtual(scenario)


def test_deadlines_are_kept_to_the_moment() -> None:
    async def scenario() -> None:
        hang = fails(RESET, 1_000.0)
        books = Books()
        pool = pool_of("a", "b", policy=books)
        began_s = now_s()
        with pytest.raises(DeadlineExceededError, match="did not answer within 2 s"):
            await pool.call(answers(a=hang, b=hang), deadline_s=2.0)
        assert elapsed(began_s) == 2.0 and books.balanced
        began_s = now_s()
        with pytest.raises(TimeoutError):
            await pool.call(answers(a=hang, b=hang), deadline_s=2.0, try_timeout_s=0.9, idempotent=True, tries=10)
        assert elapsed(began_s) <= 2.0 and books.started_count == 4, "two tries of 0.9 s, and what was left"
        assert books.balanced and not any(ok for _, ok, _ in books.finishes)

    virtual(scenario)


def test_a_try_that_hangs_is_left_for_another() -> None:
    async def scenario() -> None:
        pool = pool_of("a", "b")
        send = answers(a=fails(RESET, 1_000.0), b=after(0.1, "from b"))
        began_s = now_s()
        assert [await pool.call(send, try_timeout_s=0.5, idempotent=True) for _ in range(2)] == ["from b"] * 2
        assert 0.7 <= elapsed(began_s) <= 0.7 + CALL_BACKOFF_S

    virtual(scenario)


def test_what_cannot_be_done_in_time_is_not_sent() -> None:
    async def scenario() -> None:
        pool = pool_of("a")
        for _ in range(3):
            await pool.call(answers(a=after(1.0, "ok")))
        with pytest.raises(DeadlineExceededError, match="less than half of the answers take, so the request is not sent"):
            await pool.call(answers(a=after(0.0, "ok")), deadline_s=0.5)

    virtual(scenario)


# --- hedging ---------------------------------------------------------------------------------------------------------------


def test_a_hedge_wins_and_the_late_try_is_given_up() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        send = answers(a=after(0.05, "from a"), b=after(5.0, "from b"))
        began_s = now_s()
        first = await pool.call(send, idempotent=True, hedge_after_s=0.2)  # round robin: b first
        assert (first, elapsed(began_s)) == ("from a", 0.25)
        assert books.balanced and [status.given_up for status in pool.status()] == [0, 1]

    virtual(scenario)


def test_of_two_answers_at_the_same_moment_one_is_discarded() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        discarded: list[str] = []

        async def send(lease: Lease) -> str:
            await asyncio.sleep(0.3 if lease.endpoint.name == "a" else 0.5)  # b first, a 0.2 s later
            return lease.endpoint.name

        async def discard(result: str) -> None:
            discarded.append(result)

        result, lease = await Call(pool, send, CallPlan(idempotent=True, hedge_after_s=0.2), None, discard).run()
        lease.close()
        assert sorted([result, *discarded]) == ["a", "b"]
        assert books.balanced and [status.succeeded for status in pool.status()] == [1, 1]

    virtual(scenario)


def test_no_hedge_where_the_answer_comes_in_time() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        await pool.call(answers(a=after(0.1, "a"), b=after(0.1, "b")), idempotent=True, hedge_after_s=0.2)
        assert books.started_count == 1

    virtual(scenario)


def test_a_hedge_that_fails_does_not_spoil_the_first_try() -> None:
    async def scenario() -> None:
        for hedge in (fails(RESET), after(9.0, "late")):
            books = Books()
            pool = pool_of("a", "b", policy=books)
            send = answers(a=hedge, b=after(0.5, "from b"))
            assert await pool.call(send, idempotent=True, hedge_after_s=0.2) == "from b"
            assert books.balanced
        lone = pool_of("b", policy=Books())
        assert await lone.call(answers(b=after(0.5, "from b")), idempotent=True, hedge_after_s=0.2) == "from b"

    virtual(scenario)


def test_both_fail_then_a_retry() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", "c", policy=books)
        slow = fails(RESET, 0.3)
        send = answers(a=after(0.0, "from a"), b=slow, c=slow)
        assert await pool.call(send, idempotent=True, hedge_after_s=0.1) == "from a"
        assert books.balanced and books.started_count == 3

    virtual(scenario)


def test_a_plan_that_hedges_does_so_with_what_is_idempotent_only() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books, plan=CallPlan(hedge_after_s=0.1))
        send = answers(a=after(0.5, "a"), b=after(0.5, "b"))
        await pool.call(send)
        assert books.started_count == 1
        await pool.call(send, idempotent=True)
        assert books.started_count == 3

    virtual(scenario)


def test_hedges_have_a_budget_and_learn_when() -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books, hedging=Hedging(share=0.0, per_s_min=0.1, samples_min=10))
        quick = answers(a=after(0.1, "a"), b=after(0.1, "b"))
        for _ in range(10):
            await pool.call(quick, idempotent=True, hedge_after_s="auto")
        assert books.started_count == 10, "too little was seen to know what is late"
        slow = answers(a=after(1.0, "a"), b=after(1.0, "b"))
        began_s = now_s()
        await pool.call(slow, idempotent=True, hedge_after_s="auto")
        assert books.started_count == 12 and elapsed(began_s) == 1.0
        await pool.call(slow, idempotent=True, hedge_after_s="auto")
        assert books.started_count == 13, "the budget held one"

    virtual(scenario)


@pytest.mark.parametrize("hedge_after_s", [None, 0.1])
def test_a_cancelled_call_gives_up_all_it_has(hedge_after_s: float | None) -> None:
    async def scenario() -> None:
        books = Books()
        pool = pool_of("a", "b", policy=books)
        hang = fails(RESET, 1_000.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await pool.call(answers(a=hang, b=hang), idempotent=True, hedge_after_s=hedge_after_s)
        assert books.balanced and books.started_count == (1 if hedge_after_s is None else 2)
        assert sum(status.given_up for status in pool.status()) == books.started_count

    virtual(scenario)


# --- refusals --------------------------------------------------------------------------------------------------------------


def test_the_pools_own_errors_are_not_repeated() -> None:
    async def scenario() -> None:
        for hedge_after_s in (None, 0.1):
            pool = pool_of("a", plan=CallPlan(idempotent=True, hedge_after_s=hedge_after_s))
            pool.replace([])
            began_s = now_s()
            with pytest.raises(NoEndpointError):
                await pool.call(answers())
            pool.close()
            with pytest.raises(PoolClosedError):
                await pool.call(answers())
            assert elapsed(began_s) == 0

    virtual(scenario)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tries": 0}, "tries = 0: give a number from 1 to 10"),
        ({"deadline_s": 0.0}, "deadline_s = 0.0: give seconds above 0"),
        ({"try_timeout_s": -1.0}, "try_timeout_s = -1.0"),
        ({"try_timeout_s": float("nan")}, "try_timeout_s = nan"),
        ({"hedge_after_s": "soon"}, "hedge_after_s = 'soon'"),
        ({"deadline_s": "auto"}, "deadline_s = 'auto'"),
    ],
)
def test_plans_are_checked(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CallPlan(**wrong)  # type: ignore[arg-type]


# --- threads ---------------------------------------------------------------------------------------------------------------


def test_threads_retry_and_raise_alike() -> None:
    def send(endpoint: Endpoint) -> str:
        if endpoint.name == "b:1":
            raise ConnectionResetError("reset")
        return endpoint.name

    books = Books()
    pool = Pool(["a:1", "b:1"], books)
    assert [pool.call_in_thread(send, idempotent=True) for _ in range(4)] == ["a:1"] * 4
    with pytest.raises(ConnectionResetError):
        for _ in range(2):
            pool.call_in_thread(send)
    assert pool.call_in_thread(lambda endpoint: "503", judge=lambda _: Verdict(False, None, True), idempotent=True) == "503"
    assert books.balanced
    with pytest.raises(ConfigError, match="are for asyncio"):
        pool.call_in_thread(send, try_timeout_s=1.0)


def test_threads_start_no_try_after_the_deadline() -> None:
    books = Books()
    pool = Pool(["a:1", "b:1"], books)
    ends_s = time.monotonic() + 0.02

    def late(endpoint: Endpoint) -> str:
        while time.monotonic() <= ends_s:
            pass
        raise ConnectionResetError("late")

    with pytest.raises(ConnectionResetError):
        pool.call_in_thread(late, idempotent=True, deadline_s=0.01, tries=10)
    assert books.started_count == 1 and books.balanced
