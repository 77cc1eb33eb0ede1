"""What happened in a run: a running hash, counters, and readable lines when asked for.

Everything that could differ between two runs of a seed goes into the hash: each callback run (virtual time, serial number,
life), each random draw, each delivery's bytes. Hashing is buffered numbers, so it costs little. `checkpoints` holds the hash
at each virtual second: two runs of a seed that differ are compared there to find the first second of divergence.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from typing import Final
from zlib import crc32

_FLUSH_NUMBERS: Final = 1 << 13


class Trace:
    """The record of one run. `record`: also keep readable lines (slow; for `--trace`)."""

    def __init__(self, record: bool = False) -> None:
        self.recording = record
        self.lines: list[str] = []
        self.faults: dict[str, int] = {}  # faults that really fired, by kind
        self.probes: dict[str, int] = {}  # rare paths that were reached, by name
        self.checkpoints: list[tuple[int, str]] = []
        self.steps = 0
        self.numbers = array("d")
        self._hash = hashlib.blake2b(digest_size=16)
        self._second = 0

    def step(self, now: float, serial: int, life: int) -> None:
        """A callback is about to run."""
        self.steps += 1
        self.numbers.extend((now, serial, life))
        if len(self.numbers) > _FLUSH_NUMBERS:
            self.flush()

    def draw(self, value: float) -> float:
        self.numbers.append(value)
        return value

    def delivery(self, life: int, data: bytes) -> None:
        self.numbers.extend((life, len(data), crc32(data)))

    def event(self, now: float, host: str, label: str, detail: str = "") -> None:
        """Something worth a line: hashed by its text, kept when recording."""
        text = f"{host} {label} {detail}"
        self.numbers.extend((now, crc32(text.encode())))
        if self.recording:
            self.lines.append(f"{now:12.6f}  {text}")

    def line(self, now: float, host: str, label: str, detail: str) -> None:
        """A readable line that is not hashed: only for what was hashed otherwise. Call it only when `recording`."""
        self.lines.append(f"{now:12.6f}  {host} {label} {detail}")

    def fault(self, now: float, host: str, kind: str, detail: str = "") -> None:
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self.event(now, host, "fault " + kind, detail)

    def probe(self, name: str) -> None:
        self.probes[name] = self.probes.get(name, 0) + 1

    def second(self, now: float) -> None:
        """Called as virtual time advances: a checkpoint per whole second."""
        if int(now) > self._second:
            self._second = int(now)
            self.flush()
            self.checkpoints.append((self._second, self._hash.hexdigest()))

    def flush(self) -> None:
        self._hash.update(self.numbers.tobytes())
        del self.numbers[:]

    def digest(self) -> str:
        """The hash of all so far, as hex."""
        self.flush()
        return self._hash.hexdigest()

    def first_difference(self, other: Trace) -> int | None:
        """The first virtual second at which two runs differ, or None."""
        for (second, mine), (_, theirs) in zip(self.checkpoints, other.checkpoints, strict=False):
            if mine != theirs:
                return second
        return None if self.digest() == other.digest() else self._second


class Draws(random.Random):
    """A named stream of randomness: depends on the seed and the name only, and every draw goes into the trace."""

    def __init__(self, trace: Trace, seed: int, name: str) -> None:
        self._trace: Trace | None = None
        super().__init__(f"{seed}/{name}")
        self._trace = trace

    def __new__(cls, *args: object) -> Draws:
        return random.Random.__new__(cls, 0)  # type: ignore[call-arg,unused-ignore]

    def random(self) -> float:
        value = super().random()
        if self._trace is not None:
            self._trace.numbers.append(value)
        return value

    def getrandbits(self, k: int) -> int:
        value = super().getrandbits(k)
        if self._trace is not None:
            self._trace.numbers.append(float(value & 0xFFFFFFFFFFFF))
        return value

    def chance(self, probability: float) -> bool:
        """True with that probability; draws nothing when it is 0."""
        return probability > 0 and self.random() < probability
