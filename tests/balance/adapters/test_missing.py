"""Where a client library is missing, its adapter says in one line what to install; the pool needs none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "src"


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` where httpx and aiohttp cannot be imported."""
    blocked = "import sys; sys.modules.update({'httpx': None, 'aiohttp': None}); "
    return subprocess.run(
        [sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(SOURCES)}
    )


@pytest.mark.parametrize("library", ["httpx", "aiohttp"])
def test_one_clear_line(library: str) -> None:
    done = python(f"import loggos.balance.adapters.{library}")
    last = done.stderr.strip().splitlines()[-1]
    needs = f"{library} is not installed, and loggos.balance.adapters.{library} needs it: pip install loggos[balance]"
    assert last == f"loggos.base.errors.ConfigError: {needs}"


def test_the_pool_needs_no_client_library() -> None:
    assert python("from loggos.balance import Pool; import loggos.balance.adapters; Pool(['a:1'])").returncode == 0


def test_the_package_itself_loads_no_event_loop() -> None:
    done = python("import loggos.balance; import loggos.balance.policies; print('asyncio' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
