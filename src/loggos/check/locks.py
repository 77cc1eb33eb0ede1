"""What locks and counters promise: tokens that increase, no two holders at once, no stale write accepted, no increment lost or
doubled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loggos.check.history import Time, Violation


@dataclass(frozen=True, slots=True)
class Grant:
    """One hold. `ended_at`: when the holder released it, or learned that it was lost; None: it never came to know (killed)."""

    lock: str
    holder: str
    token: int
    acquired_at: Time  # when acquire returned
    ended_at: Time | None


@dataclass(frozen=True, slots=True)
class GuardedWrite:
    """A guarded write as the log has it. `code` 0: accepted."""

    index: int
    lock: str
    token: int
    code: int


def check_grants(grants: Sequence[Grant], exclusive: bool = True) -> list[Violation]:
    """Per lock: tokens differ, increase in the order of acquisition, and (`exclusive`) no hold begins while another lasts.

    A hold whose end nobody saw is not known to last: only its token counts.
    """
    violations: list[Violation] = []
    by_lock: dict[str, list[Grant]] = {}
    for grant in grants:
        by_lock.setdefault(grant.lock, []).append(grant)
    for lock, mine in by_lock.items():
        mine.sort(key=lambda grant: grant.acquired_at)
        tokens: dict[int, Grant] = {}
        highest_ended: Grant | None = None
        for before, grant in zip([None, *mine], mine, strict=False):
            if grant.token in tokens:
                violations.append(
                    Violation("token-unique", f"{lock}: {tokens[grant.token].holder} and {grant.holder} both had {grant.token}")
                )
            tokens[grant.token] = grant
            if before is not None and before.token > grant.token:
                violations.append(
                    Violation("token-increases", f"{lock}: {grant.holder} got {grant.token} after {before.token} was given")
                )
            if exclusive and highest_ended is not None and grant.acquired_at < (highest_ended.ended_at or 0):
                violations.append(
                    Violation(
                        "exclusion", f"{lock}: {grant.holder} acquired at {grant.acquired_at}, {highest_ended.holder} held on"
                    )
                )
            if grant.ended_at is not None and (highest_ended is None or grant.ended_at > (highest_ended.ended_at or 0)):
                highest_ended = grant
    return violations


def check_guarded_writes(writes: Sequence[GuardedWrite]) -> list[Violation]:
    """Per lock, in the order of the log: once a holder's write was accepted, no smaller token's is."""
    violations: list[Violation] = []
    highest: dict[str, GuardedWrite] = {}
    for write in sorted(writes, key=lambda write: write.index):
        if write.code != 0:
            continue
        before = highest.get(write.lock)
        if before is not None and write.token < before.token:
            message = f"{write.lock}: token {write.token} wrote at {write.index}, after {before.token} had at {before.index}"
            violations.append(Violation("stale-write", message))
        else:
            highest[write.lock] = write
    return violations


def check_counter(initial: int, acknowledged: Sequence[int], unknown: Sequence[int], final: int) -> list[Violation]:
    """Is `final` the sum of all acknowledged additions and of some of the unknown ones?"""
    base = initial + sum(acknowledged)
    possible = {base: None}
    for delta in unknown:
        possible.update({value + delta: None for value in list(possible)})
        assert len(possible) <= 1 << 20, "too many different unknown additions to tell"
    if final in possible:
        return []
    doing = "lost" if final < min(possible) else "doubled" if final > max(possible) else "altered"
    sure, unsure = len(acknowledged), len(unknown)
    return [
        Violation(
            "counter-exact", f"an increment was {doing}: {final} after {sure} acknowledged and {unsure} unknown, expected {base}"
        )
    ]
