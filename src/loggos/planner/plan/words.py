"""Numbers in words: how plans, advice and reports write a figure. Pure."""

from __future__ import annotations

from math import isinf, isnan


def figure(value: float, unit: str = "") -> str:
    """A number for people: four significant digits, thousands apart, never an exponent for large ones."""
    if isnan(value):
        return "not known"
    if isinf(value):
        return "∞"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
    return f"{digits} {unit}".rstrip()
