"""Survivors that no test should kill, each with the reason: the mutant behaves as the original does, or only costs time.

Named by file, function, and the line before and after, so that moving code does not orphan an entry. They stay in the
first figure of the report; the second leaves them out.
"""

from __future__ import annotations

from typing import NamedTuple


class Argued(NamedTuple):
    """`before` and `after`: the whole source line(s), stripped, as the report shows them."""

    file: str
    function: str
    before: str
    after: str
    reason: str


ARGUED: tuple[Argued, ...] = ()


def reason_for(file: str, function: str, before: str, after: str) -> str:
    """Why this survivor is none; "" when nobody has argued that."""
    for argued in ARGUED:
        if argued[:4] == (file, function, before, after):
            return argued.reason
    return ""
