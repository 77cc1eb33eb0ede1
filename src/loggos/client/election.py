"""Leader election: a fair queue for one office. The one in front leads until it resigns or its session ends.

Rules: a leadership is a held lock (held.py), so it has a term (the token), `check()`, `on_lost` and guarded writes; at most one
leader's guarded writes are accepted at any index of the log. Two processes may both *believe* that they lead only if one of them
does not ask `check()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from loggos.client.errors import LockLost
from loggos.client.held import Held
from loggos.client.lock import Contender, Lock

T = TypeVar("T")


class Election:
    """`with cluster.election("/elections/scheduler").lead() as leadership: …`"""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @property
    def path(self) -> str:
        return self._lock.path

    def lead(self, timeout: float | None = None) -> Held:
        """Stand as a candidate and wait to be elected; `leadership.token` is the term. LockTimeout: not elected in time,
        candidacy withdrawn.
        """
        return self._lock.acquire(timeout)

    def run(self, task: Callable[[Held], T]) -> T:
        """Lead once: call `task(leadership)` when elected, resign when it returns, give what it gave. LockLost: it was lost."""
        with self.lead() as leadership:
            return task(leadership)

    def run_forever(self, task: Callable[[Held], object]) -> None:
        """Stand anew after every loss of office. Ends when `task` returns with the office still held, or raises."""
        while True:
            try:
                self.run(task)
            except LockLost:
                continue
            return

    def leader(self) -> Contender | None:
        """Who leads, as far as the log says now; None when nobody stands."""
        candidates = self.candidates()
        return candidates[0] if candidates else None

    def candidates(self) -> list[Contender]:
        """The leader and those who would follow, in order."""
        return self._lock.contenders()
