"""Options checked as they come in: a number out of its range is refused with its name, its value and the range."""

from __future__ import annotations

import math

from loggos.base.errors import ConfigError


def at_least(option: str, value: float, least: float) -> None:
    """ConfigError unless `value` is a finite number, `least` or more."""
    if not (_number(value) and value >= least):
        raise ConfigError(f"{option} = {value!r}: give {least:g} or more")


def above(option: str, value: float, bound: float) -> None:
    """ConfigError unless `value` is a finite number greater than `bound`."""
    if not (_number(value) and value > bound):
        raise ConfigError(f"{option} = {value!r}: give more than {bound:g}")


def within(option: str, value: float, least: float, most: float) -> None:
    """ConfigError unless `least` <= value <= `most`."""
    if not (_number(value) and least <= value <= most):
        raise ConfigError(f"{option} = {value!r}: give a number from {least:g} to {most:g}")


def whole(option: str, value: int, least: int, most: int | None = None) -> None:
    """ConfigError unless `value` is a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = "or more" if most is None else f"to {most}"
        raise ConfigError(f"{option} = {value!r}: give a whole number, {least} {upper}")


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """ConfigError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{option} = {value!r}: there is {', '.join(allowed)}")


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
