"""Stations of equal servers that do work: first come first served, or processor sharing.

A job is an amount of work, in seconds of a server of speed 1, and a token that the station hands back when it is done. Rules:
- A station with `room` for K jobs, those being served included, refuses the one that would be K + 1.
- `set_speed` changes what the work in progress still takes, from now on; speed 0 is a stall, and nothing is lost.
- `fail` loses every job and refuses all others until `repair`.
- What was planned for an end that moved is not called off but ignored when it comes: its number is not known any more.

`jobs_s` and `busy_s` are the integrals over time of jobs present and of servers at work: with them Little's law and the
utilisation law are checked instead of believed.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

from loggos.base.errors import InputError
from loggos.des.kernel import Kernel


class Station(ABC):
    """What both disciplines share. `done(token)` is called when a job has been served, after it has left."""

    __slots__ = (
        "_busy_s", "_done", "_jobs_s", "_kernel", "_since_s",
        "arrived", "completed", "in_system", "is_up", "lost", "refused", "room", "servers", "speed",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, done: Callable[[Any], object], *, servers: int = 1, room: float = math.inf, speed: float = 1.0
    ) -> None:
        if servers < 1 or room < servers:
            raise InputError(f"a station of {servers} servers with room for {room} jobs: at least one server, and room for each")
        self._kernel = kernel
        self._done = done
        self.servers = servers
        self.room = room
        self.speed = _checked(speed)
        self.is_up = True
        self.in_system = 0
        self.arrived = self.completed = self.refused = self.lost = 0  # arrived: those refused included
        self._jobs_s = self._busy_s = 0.0
        self._since_s = kernel.now_s

    def arrive(self, work_s: float, token: object = None) -> bool:
        """A job of so much work comes. False: it was refused."""
        assert work_s >= 0.0, f"a job of {work_s} s"
        self.arrived += 1
        if not self.is_up or self.in_system >= self.room:
            self.refused += 1
            return False
        self._account()
        self.in_system += 1
        self._admit(work_s, token)
        return True

    def set_speed(self, speed: float) -> None:
        """From now on a server does `speed` ≥ 0 seconds of work in a second."""
        _checked(speed)
        self._account()
        self._change_speed(speed)

    def fail(self) -> list[Any]:
        """Everything stops and is lost: the tokens, in the order of arrival."""
        self._account()
        tokens = self._clear()
        assert len(tokens) == self.in_system, "a job is neither served nor waiting"
        self.lost += len(tokens)
        self.in_system = 0
        self.is_up = False
        return tokens

    def repair(self) -> None:
        """It serves again, empty."""
        self.is_up = True

    @property
    def jobs_s(self) -> float:
        """Jobs present, integrated until now; over the time: their mean number."""
        return self._jobs_s + self.in_system * (self._kernel.now_s - self._since_s)

    @property
    def busy_s(self) -> float:
        """Servers at work, integrated until now; over servers and time: the utilisation."""
        return self._busy_s + min(self.in_system, self.servers) * (self._kernel.now_s - self._since_s)

    def _account(self) -> None:
        """Before `in_system` changes."""
        now_s, present = self._kernel.now_s, self.in_system
        if present:
            passed_s = now_s - self._since_s
            self._jobs_s += present * passed_s
            self._busy_s += (present if present < self.servers else self.servers) * passed_s
        self._since_s = now_s

    def _leave(self) -> None:
        self._account()
        self.in_system -= 1
        self.completed += 1

    @abstractmethod
    def _admit(self, work_s: float, token: object) -> None: ...

    @abstractmethod
    def _change_speed(self, speed: float) -> None: ...

    @abstractmethod
    def _clear(self) -> list[Any]: ...


class FifoStation(Station):
    """First come first served: one job per server, the others wait in the order of arrival."""

    __slots__ = ("_number", "_serving", "_waiting")

    def __init__(
        self, kernel: Kernel, done: Callable[[Any], object], *, servers: int = 1, room: float = math.inf, speed: float = 1.0
    ) -> None:
        super().__init__(kernel, done, servers=servers, room=room, speed=speed)
        self._serving: dict[int, tuple[float, Any, float]] = {}  # number of its end: work left, token, since when; oldest first
        self._waiting: deque[tuple[float, Any]] = deque()
        self._number = 0

    def _admit(self, work_s: float, token: object) -> None:
        if len(self._serving) < self.servers:
            self._serve(work_s, token)
        else:
            self._waiting.append((work_s, token))

    def _serve(self, work_s: float, token: object) -> None:
        self._number = number = self._number + 1
        now_s = self._kernel.now_s
        self._serving[number] = (work_s, token, now_s)
        if self.speed > 0.0:
            self._kernel.at(now_s + work_s / self.speed, self._end, number)

    def _end(self, number: int) -> None:
        job = self._serving.pop(number, None)
        if job is None:
            return  # its speed has changed since, or the station has failed
        self._leave()
        if self._waiting:
            self._serve(*self._waiting.popleft())
        self._done(job[1])

    def _change_speed(self, speed: float) -> None:
        now_s, old_speed = self._kernel.now_s, self.speed
        jobs, self._serving = self._serving, {}
        self.speed = speed
        for work_s, token, since_s in jobs.values():
            self._serve(max(work_s - (now_s - since_s) * old_speed, 0.0), token)

    def _clear(self) -> list[Any]:
        tokens = [token for _, token, _ in self._serving.values()] + [token for _, token in self._waiting]
        self._serving.clear()
        self._waiting.clear()
        return tokens


class SharingStation(Station):
    """Processor sharing: n jobs on c servers are served all at once, each at speed · min(1, c / n).

    `_attained_s` is the work that a job present all the time would have been given; a job ends when it has grown by its work.
    """

    __slots__ = ("_attained_s", "_at_s", "_ends", "_number", "_planned")

    def __init__(
        self, kernel: Kernel, done: Callable[[Any], object], *, servers: int = 1, room: float = math.inf, speed: float = 1.0
    ) -> None:
        super().__init__(kernel, done, servers=servers, room=room, speed=speed)
        self._attained_s = 0.0
        self._at_s = kernel.now_s  # when it was that
        self._ends: list[tuple[float, int, Any]] = []  # a heap: attained work at its end, number of arrival, token
        self._number = 0
        self._planned = 0  # the number of the one planned end that holds

    def _admit(self, work_s: float, token: object) -> None:
        self._advance(len(self._ends))
        self._number += 1
        heapq.heappush(self._ends, (self._attained_s + work_s, self._number, token))
        self._plan()

    def _advance(self, jobs: int) -> None:
        """Up to now, for the jobs present until now."""
        now_s = self._kernel.now_s
        if jobs:
            self._attained_s += (now_s - self._at_s) * self.speed * min(1.0, self.servers / jobs)
        else:
            self._attained_s = 0.0  # nobody is left who counts from it: it stays small, and so exact
        self._at_s = now_s

    def _plan(self) -> None:
        self._planned += 1
        ends = self._ends
        if ends and self.speed > 0.0:
            rate = self.speed * min(1.0, self.servers / len(ends))
            delay_s = max(ends[0][0] - self._attained_s, 0.0) / rate
            self._kernel.at(self._kernel.now_s + delay_s, self._end, self._planned)

    def _end(self, planned: int) -> None:
        if planned != self._planned:
            return  # somebody came or left since, or the speed has changed
        self._advance(len(self._ends))
        end_s, _, token = heapq.heappop(self._ends)
        self._attained_s = end_s  # up to rounding it is there already
        self._leave()
        self._plan()
        self._done(token)

    def _change_speed(self, speed: float) -> None:
        self._advance(len(self._ends))
        self.speed = speed
        self._plan()

    def _clear(self) -> list[Any]:
        tokens = [token for _, _, token in sorted(self._ends, key=lambda end: end[1])]
        self._ends.clear()
        self._plan()
        return tokens


def _checked(speed: float) -> float:
    if not 0.0 <= speed < math.inf:
        raise InputError(f"a server of speed {speed}: it is finite and not negative; 0 is a stall")
    return speed
