"""Interposes time and randomness while a simulated world is entered, for third-party asyncio clients that do not know our ports.

The only place in Loggos that replaces anything of the standard library (rule 30), and only between `enter` and `leave`:
`time.*`, the global functions of `random` and unseeded `random.Random`, `os.urandom`, `uuid`, and the garbage collector. Our
own code uses the ports instead.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from loggos.sim.life import HostClock, current_life
from loggos.sim.loop import SimLoop
from loggos.sim.trace import Draws

_COLLECT_EVERY_WORLDS: Final = 16  # a full collection is slow, but a process that runs many seeds must not grow


def ensure_hash_seed() -> None:
    """Start this program again with PYTHONHASHSEED=0 unless it runs so; sets of strings then have one order in every run."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})


class Interposition:
    """Replaces, and puts back. `adopt`: packages that bound such functions to names of their own (`from time import time`)."""

    worlds = 0  # left so far in this process

    def __init__(self, loop: SimLoop, draws: Draws, clock: HostClock, adopt: Sequence[str]) -> None:
        self._loop, self._draws, self._clock, self._adopt = loop, draws, clock, tuple(adopt)
        self._saved: list[tuple[Any, str, Any]] = []
        self._random_state: Any = None
        self._had_gc = False

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self._saved.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    def enter(self) -> None:
        self._had_gc = gc.isenabled()
        gc.disable()
        gc.freeze()  # what is garbage already must not be found in the middle of the run
        for name, seconds in (("time", self._wall), ("monotonic", self._monotonic), ("perf_counter", self._monotonic)):
            self._replace(time, name, seconds)
            self._replace(time, name + "_ns", lambda seconds=seconds: int(seconds() * 1_000_000_000))
        self._replace(time, "sleep", self._loop.advance)
        self._random_state = random.getstate()
        random.seed(self._draws.getrandbits(64))
        self._replace(os, "urandom", self._draws.randbytes)
        self._replace(random, "_urandom", self._draws.randbytes)
        self._replace(random.Random, "seed", self._seed_function())
        self._replace(uuid, "_generate_time_safe", None)
        self._replace(uuid, "_node", 0x02_00_00_00_00_01)
        self._replace(uuid, "_last_timestamp", None)
        self._replace_in_adopted()

    def _replace_in_adopted(self) -> None:
        """Wherever a module of an adopted package holds an original under any name, put the replacement."""
        replaced = [(value, getattr(owner, name)) for owner, name, value in self._saved if callable(value)]
        prefixes = tuple(package + "." for package in self._adopt)
        for module_name in sorted(name for name in sys.modules if (name + ".").startswith(prefixes)):
            module = sys.modules[module_name]
            for name, value in list(vars(module).items()):
                for original, replacement in replaced:
                    if value is original:
                        self._replace(module, name, replacement)

    def leave(self) -> None:
        for owner, name, value in reversed(self._saved):
            setattr(owner, name, value)
        self._saved.clear()
        random.setstate(self._random_state)
        gc.unfreeze()
        Interposition.worlds += 1
        if Interposition.worlds % _COLLECT_EVERY_WORLDS == 0:
            gc.collect()
        if self._had_gc:
            gc.enable()

    def _host_clock(self) -> HostClock:
        life = current_life.get()
        return self._clock if life is None else life.clock

    def _wall(self) -> float:
        return self._host_clock().wall_ms() / 1000

    def _monotonic(self) -> float:
        return self._host_clock().monotonic()

    def _seed_function(self) -> Any:
        original, draws = random.Random.seed, self._draws

        def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            original(self, draws.getrandbits(64) if a is None else a, version)

        return seed
