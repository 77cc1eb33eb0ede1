"""Debian's HAProxy as a process of a test: a configuration, a free port, and an end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.balance.real.servers import HOST, free_port

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed (apt install haproxy)")


def config(port: int, algorithm: str, servers: Sequence[str], *, check: str | None = None) -> str:
    """One listener that balances over `servers`; `check`: the path of a health check."""
    lines = ["global", "  maxconn 200", "defaults", "  mode http", "  retries 1", "  option redispatch"]
    lines += [f"  timeout {what} 5s" for what in ("client", "server", "connect", "queue", "check")]
    lines += ["listen test", f"  bind {HOST}:{port}", f"  balance {algorithm}"]
    lines += [f"  option httpchk GET {check}", "  default-server check inter 50 fall 1 rise 1"] if check else []
    lines += [f"  server s{number} {address}" for number, address in enumerate(servers)]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def haproxy(folder: Path, algorithm: str, servers: Sequence[str], *, check: str | None = None) -> AsyncIterator[str]:
    """The address of a HAProxy that runs as long as this is entered."""
    port = free_port()
    path = folder / "haproxy.cfg"
    path.write_text(config(port, algorithm, servers, check=check), encoding="ascii")
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", str(path))
    try:
        async with asyncio.timeout(20):
            while not await _listens(port):
                assert process.returncode is None, f"HAProxy did not start: {path.read_text(encoding='ascii')}"
                await asyncio.sleep(0.02)
        yield f"{HOST}:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
