"""The event loop of a real node, and the interpreter settings that keep its turns short (rules 20 and 21).

`run` uses uvloop where it is installed and asyncio's own loop elsewhere. A node calls `settle_garbage` once its state is
restored: what is there is taken out of the collector's sight, and full collections, which cost about 124 ms per 500,000
znodes, no longer happen by themselves.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

try:
    import uvloop
except ImportError:  # not on every platform
    uvloop = None  # type: ignore[assignment,unused-ignore]

Result = TypeVar("Result")
SWITCH_INTERVAL_S: Final = 0.0005  # how soon a thread gets the interpreter back after its system call
_YOUNG_THRESHOLD: Final = 50_000  # allocations between young collections
_MIDDLE_THRESHOLD: Final = 100  # young collections between middle ones
_FULL_THRESHOLD: Final = 1_000_000  # middle collections between full ones: in effect never


def new_loop(prefer_uvloop: bool = True) -> asyncio.AbstractEventLoop:
    """A fresh event loop: uvloop's if it is wanted and importable."""
    if prefer_uvloop and uvloop is not None:
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run(main: Callable[[], Coroutine[Any, Any, Result]], prefer_uvloop: bool = True) -> Result:
    """Run `main()` to its end on a fresh loop."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=lambda: new_loop(prefer_uvloop)) as runner:
        return runner.run(main())


def settle_garbage() -> None:
    """Call after restore: collect once, freeze what is left, and stop automatic full collections."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_THRESHOLD, _MIDDLE_THRESHOLD, _FULL_THRESHOLD)
