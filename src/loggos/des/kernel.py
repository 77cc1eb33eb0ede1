"""Virtual time and one queue of events.

Rules:
- An event is `(time, number, action, argument)` on a heap; those of equal time run in the order in which they were planned.
- An action runs once, at its time, with its argument; it may plan further events, now or later, never earlier.
- Time is in seconds of a virtual clock that starts at 0. The kernel knows no other clock, no chance, no meaning of its events.

Only what may have to be called off (`timer`) costs an object; everything else is a tuple.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from loggos.base.errors import InputError
from loggos.base.limits import DES_EVENTS_MAX, DES_IDLE_TIMERS_MIN

Action: TypeAlias = Callable[[Any], object]


class Timer:
    """An event that can be called off: `Kernel.cancel`."""

    __slots__ = ("action", "argument")

    def __init__(self, action: Action, argument: object) -> None:
        self.action: Action | None = action
        self.argument = argument

    @property
    def is_pending(self) -> bool:
        return self.action is not None


class Kernel:
    """A virtual clock and what is to happen."""

    __slots__ = ("now_s", "_heap", "_number", "_cancelled", "_is_stopped")

    def __init__(self) -> None:
        self.now_s = 0.0  # read by everybody, written here only
        self._heap: list[tuple[float, int, Action, Any]] = []
        self._number = 0
        self._cancelled = 0  # timers in the heap that will not fire
        self._is_stopped = False

    @property
    def pending(self) -> int:
        """Events still to come."""
        return len(self._heap) - self._cancelled

    def at(self, time_s: float, action: Action, argument: object = None) -> None:
        """Plans an event for a time that is not past."""
        assert time_s >= self.now_s, f"an event at {time_s} s, planned at {self.now_s} s"
        self._number = number = self._number + 1
        heapq.heappush(self._heap, (time_s, number, action, argument))

    def after(self, delay_s: float, action: Action, argument: object = None) -> None:
        """Plans an event `delay_s` ≥ 0 from now."""
        self.at(self.now_s + delay_s, action, argument)

    def timer(self, delay_s: float, action: Action, argument: object = None) -> Timer:
        """Plans an event that may be called off."""
        timer = Timer(action, argument)
        self.at(self.now_s + delay_s, _fire, timer)
        return timer

    def cancel(self, timer: Timer) -> bool:
        """Calls it off. False: it has fired or was called off before."""
        if timer.action is None:
            return False
        timer.action = None
        self._cancelled += 1
        if self._cancelled > DES_IDLE_TIMERS_MIN and 2 * self._cancelled > len(self._heap):
            self._sweep()
        return True

    def stop(self) -> None:
        """The run ends after the present event."""
        self._is_stopped = True

    def run(self, until_s: float = math.inf, *, events_max: int = DES_EVENTS_MAX) -> int:
        """Runs events up to and including `until_s`, then stands there; without it, until none is left. Gives how many ran.

        Raises InputError after `events_max` events: a model that feeds itself without end.
        """
        heap, pop = self._heap, heapq.heappop
        self._is_stopped = False
        ran = 0
        while heap and heap[0][0] <= until_s and not self._is_stopped:
            if ran >= events_max:
                raise InputError(
                    f"the simulation ran {events_max} events and stands at {self.now_s:g} s: it may never end. "
                    "Limit its arrivals or its time, or raise events_max"
                )
            self.now_s, _, action, argument = pop(heap)
            if action is _fire and argument.action is None:
                self._cancelled -= 1
                continue
            ran += 1
            action(argument)
        if until_s < math.inf and not self._is_stopped:
            self.now_s = max(self.now_s, until_s)
        return ran

    def _sweep(self) -> None:
        """Takes cancelled timers out. In place: `run` holds the list."""
        self._heap[:] = [event for event in self._heap if event[2] is not _fire or event[3].action is not None]
        heapq.heapify(self._heap)
        self._cancelled = 0


def _fire(timer: Timer) -> None:
    action, timer.action = timer.action, None
    assert action is not None
    action(timer.argument)
