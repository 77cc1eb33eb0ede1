"""`Pool.call`: a function called with one end point after another until it succeeds, or there is no time or no sense in going on.

Rules:
- Only what is idempotent is called twice, be it as a retry or as a hedge. The caller says so; nobody else can know.
- A retry goes to another end point if there is one, after a pause that doubles and is drawn at random (full jitter), and only if
  the retry budget allows: retries must not multiply the load of a service that is failing because of load.
- The deadline is for everything together, the try timeout for each try. Time that is over is never waited for.
- A hedge is a second try that starts while the first is still on its way; the first answer wins, the other try is cancelled.
- What is raised is the last error as it came, with a note of all that was tried.
Must not know: HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from loggos.balance.guards.deadline import Deadline
from loggos.balance.pool.errors import BudgetExhaustedError, DeadlineExceededError, PoolError
from loggos.balance.pool.lease import Lease
from loggos.balance.types import Report
from loggos.base.errors import ConfigError
from loggos.base.limits import CALL_BACKOFF_S, CALL_BACKOFF_S_MAX, CALL_TRIES, CALL_TRIES_MAX

if TYPE_CHECKING:
    from loggos.balance.pool.pool import Pool

T = TypeVar("T")


class Verdict(NamedTuple):
    """What a result says of the end point that gave it."""

    ok: bool = True
    report: Report | None = None
    retry: bool = False  # the result is a failure that another end point may not have (a 503)


Judge = Callable[[T], Verdict]
GOOD = Verdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """How a call may go. A pool has one as its default; every call may differ in some of it.

    idempotent     doing it twice is as good as doing it once: it may be retried and hedged
    tries          at most, the first one included, hedges not
    try_timeout_s  for one try (asyncio only: a thread cannot be interrupted)
    deadline_s     for everything together; in threads: no try starts after it
    hedge_after_s  a try of what is idempotent without an answer for this long gets company (asyncio only); "auto": for longer
                   than most
    unsent         errors that show that nothing was sent: retried also if not idempotent
    """

    key: bytes | None = None
    idempotent: bool = False
    tries: int = CALL_TRIES
    try_timeout_s: float | None = None
    deadline_s: float | None = None
    hedge_after_s: float | Literal["auto"] | None = None
    unsent: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.tries <= CALL_TRIES_MAX:
            raise ConfigError(f"call: tries = {self.tries}: give a number from 1 to {CALL_TRIES_MAX}")
        for name in ("try_timeout_s", "deadline_s", "hedge_after_s"):
            value = getattr(self, name)
            if value == "auto" and name == "hedge_after_s":
                continue
            if not (value is None or (isinstance(value, (int, float)) and value > 0)):
                raise ConfigError(f"call: {name} = {value!r}: give seconds above 0, or None")


@dataclass(slots=True)
class Attempt(Generic[T]):
    """One try: it has a result and an open lease, or an error and a closed one, or was refused and has no end point."""

    lease: Lease
    verdict: Verdict = GOOD
    result: T | None = None
    error: Exception | None = None
    refused: bool = False

    @property
    def good(self) -> bool:
        return self.error is None and not self.verdict.retry

    @property
    def worth(self) -> int:
        """What the caller would rather have."""
        return 3 if self.good else 2 if self.error is None else 0 if self.refused else 1

    def judge(self, judge: Judge[T] | None) -> None:
        if judge is not None:
            self.verdict = judge(self.result)  # type: ignore[arg-type]  # no error: there is a result, maybe None
            self.lease.report(self.verdict.report)
            if not self.verdict.ok:
                self.lease.failed()

    def answer(self) -> tuple[T, Lease]:
        return self.result, self.lease  # type: ignore[return-value]  # as above


class Course:
    """One call on its way: what was tried, how much time is left, whether to go on."""

    def __init__(self, pool: Pool, plan: CallPlan) -> None:
        self._pool = pool
        self._plan = plan
        self._deadline = None if plan.deadline_s is None else Deadline.after(pool.core.clock(), plan.deadline_s)
        self.tried: list[str] = []
        self._tries = 0
        self._begun = False

    def lease(self) -> Lease:
        """For the next try; elsewhere than before if possible."""
        again, self._begun = self._begun, True
        return Lease(self._pool, self._plan.key, tuple(self.tried), self._deadline, again=again)

    def left_s(self) -> float | None:
        """DeadlineExceededError: the time for the call is over."""
        if self._deadline is None:
            return None
        left_s = self._deadline.left_s(self._pool.core.clock())
        if left_s == 0:
            raise self.too_late()
        return left_s

    def limit_s(self) -> float | None:
        """For the next try."""
        left_s = self.left_s()
        limits_s = [limit_s for limit_s in (left_s, self._plan.try_timeout_s) if limit_s is not None]
        return min(limits_s, default=None)

    def too_late(self) -> DeadlineExceededError:
        tried = f" after {len(self.tried)} tries ({', '.join(self.tried)})" if self.tried else ""
        return DeadlineExceededError(
            f"pool {self._pool.name}: the call had {self._plan.deadline_s} s, and they are over{tried}: "
            "give it more time, or look why its end points are slow"
        )

    def too_slow(self, name: str, limit_s: float | None, error: Exception) -> DeadlineExceededError:
        """The time for one try is over."""
        slow = DeadlineExceededError(f"pool {self._pool.name}: {name} did not answer within {limit_s or 0:.3g} s")
        slow.__cause__ = error
        return slow

    def pause_s(self, attempt: Attempt[Any]) -> float | None:
        """How long to wait before the next try; None: this one was the last. BudgetExhaustedError."""
        self._tries += 1
        if attempt.refused or self._tries >= self._plan.tries or not self._may_repeat(attempt):
            return None
        longest_s = min(CALL_BACKOFF_S * 2 ** (self._tries - 1), CALL_BACKOFF_S_MAX)
        pause_s: float = longest_s * self._pool.jitter.random()
        if self._deadline is not None and not self._deadline.leaves(pause_s, self._pool.core.clock()):
            return None
        granted = self._pool.core.may_retry(self._deadline)
        if granted is None or (not granted and attempt.error is None):
            return None
        if not granted:
            raise BudgetExhaustedError(
                f"pool {self._pool.name}: a try at {self.tried[-1]} failed ({attempt.error!r}) and is not repeated: "
                "too many requests were retried lately; look why end points fail, or enlarge the retry budget"
            ) from attempt.error
        return pause_s

    def may_hedge(self) -> bool:
        return self._pool.core.may_hedge(self._deadline)

    def _may_repeat(self, attempt: Attempt[Any]) -> bool:
        error = attempt.error
        if error is None:
            return self._plan.idempotent
        if isinstance(error, self._plan.unsent):
            return True
        return self._plan.idempotent and self._pool.blame(error)

    def note(self, error: Exception) -> Exception:
        """The error, with what was tried."""
        if len(self.tried) > 1:
            error.add_note(f"pool {self._pool.name} tried {', '.join(self.tried)}")
        return error


# --- asyncio -------------------------------------------------------------------------------------------------------------


class Call(Generic[T]):
    """One call in an event loop. `run` gives the first good result, or the last one, with its lease still open.

    `send` is called with an entered lease; `judge` says what a result means; `discard` lets go of a result that is not used.
    """

    def __init__(
        self,
        pool: Pool,
        send: Callable[[Lease], Awaitable[T]],
        plan: CallPlan,
        judge: Judge[T] | None = None,
        discard: Callable[[T], Awaitable[None]] | None = None,
    ) -> None:
        self._pool = pool
        self._send = send
        self._plan = plan
        self._judge = judge
        self._discard = discard
        self._course = Course(pool, plan)

    async def run(self) -> tuple[T, Lease]:
        while True:
            hedged = self._plan.idempotent and self._plan.hedge_after_s is not None
            attempt = await (self._hedge() if hedged else self._try())
            pause_s = None if attempt.good else self._course.pause_s(attempt)
            if pause_s is None:
                if attempt.error is not None:
                    raise self._course.note(attempt.error)
                return attempt.answer()
            await self._drop(attempt)
            await asyncio.sleep(pause_s)

    async def _try(self) -> Attempt[T]:
        attempt: Attempt[T] = Attempt(self._course.lease())
        lease = attempt.lease
        try:
            limit_s = self._course.limit_s()
            endpoint = await lease.__aenter__()
        except PoolError as error:
            attempt.error, attempt.refused = error, True
            return attempt
        self._course.tried.append(endpoint.name)
        timer = asyncio.timeout(limit_s)
        try:
            async with timer:
                attempt.result = await self._send(lease)
            attempt.judge(self._judge)
        except Exception as error:  # the caller's function: its error is judged, and raised if it is the last
            attempt.error = self._course.too_slow(endpoint.name, limit_s, error) if timer.expired() else error
            lease.close(attempt.error)
        except BaseException as error:
            lease.close(error)
            raise
        return attempt

    async def _hedge(self) -> Attempt[T]:
        """Two tries, the second one late: the first good one, or the better of both. What is not used is cancelled."""
        tasks: list[asyncio.Task[Attempt[T]]] = []
        best: Attempt[T] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks.append(group.create_task(self._try()))
                delay_s = self._hedge_delay_s()
                await asyncio.wait(tasks, timeout=delay_s)
                if not tasks[0].done() and self._course.may_hedge():
                    tasks.append(group.create_task(self._try()))
                best = await _first_good(tasks)
                for task in tasks:
                    task.cancel()
            for attempt in _ended(tasks):
                if attempt is not best:
                    await self._drop(attempt)
        except BaseException as error:
            for attempt in _ended(tasks):
                attempt.lease.close(error)
            raise
        return best

    def _hedge_delay_s(self) -> float | None:
        after_s = self._plan.hedge_after_s
        return self._pool.core.hedge_delay_s() if after_s == "auto" else after_s

    async def _drop(self, attempt: Attempt[T]) -> None:
        """Lets go of a result that another one replaces."""
        try:
            if attempt.error is None and self._discard is not None:
                await self._discard(attempt.answer()[0])
        finally:
            attempt.lease.close()


async def _first_good(tasks: list[asyncio.Task[Attempt[T]]]) -> Attempt[T]:
    """The first good attempt; when all have ended without one, the best there is."""
    running = list(tasks)
    while running:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in running if task.done()]:
            if task.result().good:
                return task.result()
            running.remove(task)
    return max((task.result() for task in tasks), key=lambda attempt: attempt.worth)


def _ended(tasks: list[asyncio.Task[Attempt[T]]]) -> list[Attempt[T]]:
    return [task.result() for task in tasks if task.done() and not task.cancelled() and task.exception() is None]


# --- threads -------------------------------------------------------------------------------------------------------------


def check_for_threads(name: str, plan: CallPlan) -> None:
    """ConfigError: the plan asks for what only asyncio can do."""
    if plan.hedge_after_s is not None or plan.try_timeout_s is not None:
        raise ConfigError(
            f"pool {name}: a thread cannot be interrupted, so try_timeout_s and hedge_after_s are for asyncio: "
            "give the client its own timeout"
        )


def run_in_thread(
    pool: Pool,
    send: Callable[[Lease], T],
    plan: CallPlan,
    judge: Judge[T] | None = None,
    discard: Callable[[T], None] | None = None,
) -> tuple[T, Lease]:
    """`Call.run` for threads: no try is interrupted, none is hedged."""
    check_for_threads(pool.name, plan)
    course = Course(pool, plan)
    while True:
        course.left_s()
        attempt = _try_in_thread(course, send, judge)
        pause_s = None if attempt.good else course.pause_s(attempt)
        if pause_s is None:
            if attempt.error is not None:
                raise course.note(attempt.error)
            return attempt.answer()
        try:
            if attempt.error is None and discard is not None:
                discard(attempt.answer()[0])
        finally:
            attempt.lease.close()
        time.sleep(pause_s)


def _try_in_thread(course: Course, send: Callable[[Lease], T], judge: Judge[T] | None) -> Attempt[T]:
    attempt: Attempt[T] = Attempt(course.lease())
    course.tried.append(attempt.lease.__enter__().name)
    try:
        attempt.result = send(attempt.lease)
        attempt.judge(judge)
    except Exception as error:  # as in `Call._try`
        attempt.error = error
        attempt.lease.close(error)
    except BaseException as error:
        attempt.lease.close(error)
        raise
    return attempt
