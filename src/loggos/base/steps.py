"""Long work in steps: a generator that pauses where a loop may turn, and at last gives what puts its result in place.

Whoever needs the result at once takes all steps; the loop's own tasks take a turn between them. Knows nothing of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

Result = TypeVar("Result")
Steps = Generator[None, None, Callable[[], None]]
Digesting = Generator[None, None, int | None]  # a digest, unless it had to give way to other work


def all_steps(steps: Generator[None, None, Result]) -> Result:
    """Take every step now."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result
