"""docs/BALANCING.md: its examples run as they stand, and every name in it exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from loggos.balance.middleware import HEADER, PROBE_PATH, parse_report
from loggos.balance.policies import POLICIES, options

PAGE = (Path(__file__).parents[3] / "docs" / "BALANCING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(number) for number in range(len(BLOCKS))])
def test_examples_run(block: str) -> None:
    exec(compile(ast.parse(block), "docs/BALANCING.md", "exec"), {})


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 4


def test_policies_and_their_options_exist() -> None:
    table = PAGE.partition("## Choosing a policy")[2].partition("How much it matters")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)]
    assert set(named) == set(POLICIES), "every policy has its row"
    assert "load" in options("p2c") and "tau_s" in options("peak_ewma") and "tau_s" in table


def test_classes_exist() -> None:
    modules = [
        importlib.import_module(f"loggos.balance.{name}")
        for name in (
            "pool", "middleware", "types", "adapters.aiohttp", "adapters.httpx", "guards.concurrency", "filters.outliers",
            "filters.breakers", "filters.zone", "filters.slow_start",
        )
    ]  # fmt: skip
    for name in sorted(set(re.findall(r"`(?:\w+=)?([A-Z][A-Za-z]+)\(", PAGE)) | set(re.findall(r"`(\w+Error)`", PAGE))):
        assert name == "TimeoutError" or any(hasattr(module, name) for module in modules), name


def test_the_header_is_as_written() -> None:
    assert parse_report(re.findall(rf"{HEADER}: (.*)", PAGE)[0]) == (3, 0.0125)
    assert f"`GET {PROBE_PATH}`" in PAGE
