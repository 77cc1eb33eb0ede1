"""The flags of `loggos node`, as changes to its configuration: each overrides the key of the TOML file, and together they
can stand for the whole file.

A flag that is not given changes nothing; `--voter` and `--learner` replace their whole table. The superuser's digest has no
flag: what is on a command line can be read by every user of the machine. What the values mean is the configuration's to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loggos.app.ports import CONSOLE, ZOOKEEPER
from loggos.base.errors import ConfigError


def changes_of(
    *,
    base_port: int | None = None,
    zookeeper_port: int | None = None,
    console_port: int | None = None,
    tick_ms: int | None = None,
    connections_per_address_max: int | None = None,
    voters: Sequence[str] = (),
    learners: Sequence[str] = (),
    **plain: Any,
) -> dict[str, Any]:
    """The keys that are given. `plain`: those of the first level, None where not given. ConfigError: not ID=HOST:PORT."""
    first = {} if base_port is None else {"zookeeper": base_port + ZOOKEEPER, "console": base_port + CONSOLE}
    tables = {
        "ports": {**first, **given(zookeeper=zookeeper_port, console=console_port)},
        "coordination": given(tick_ms=tick_ms, connections_per_address_max=connections_per_address_max),
        "voters": members("--voter", voters),
        "learners": members("--learner", learners),
    }
    return {**given(**plain), **{name: table for name, table in tables.items() if table}}


def given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def members(flag: str, words: Sequence[str]) -> dict[str, str]:
    """Node id → address."""
    found: dict[str, str] = {}
    for word in words:
        number, _, address = word.partition("=")
        if not number or not address:
            raise ConfigError(f"{flag} {word!r} is not ID=HOST:PORT: write for example {flag} 1=127.0.0.1:2185")
        if number in found:
            raise ConfigError(f"{flag} names node {number} twice: at {found[number]} and at {address}")
        found[number] = address
    return found
