"""The console's server: pages, what is no request, and more connections than there is room for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from loggos.console.http import Answer, Console
from loggos.host.loop import run as run_loop
from loggos.host.world import HostWorld

ROOM = 3


async def ask(port: int, request: bytes) -> bytes:
    """All that the console says to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    said = await reader.read()
    writer.close()
    return said


PAGES = {"/health": lambda: Answer("text/plain", b"well\n"), "/ill": lambda: Answer("text/plain", b"ill\n", 503)}


async def serve(directory: Path, refused: list[str]) -> tuple[HostWorld, Console, int]:
    world = HostWorld(directory)
    console = Console(PAGES, ROOM, lambda: refused.append("one"))
    return world, console, await console.listen(world.network, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /health", b"200"),
        (b"HEAD /health", b"200"),
        (b"POST /health", b"405"),
        (b"GET /none", b"404"),
        (b"GET /ill", b"503"),
    ],
)
def test_pages(request_line: bytes, status: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        world, console, port = await serve(tmp_path, [])
        said = await ask(port, request_line + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 " + status)
        assert said.endswith(b"well\n") is (request_line == b"GET /health")
        console.close()
        await world.close()

    run_loop(main)


def test_the_oldest_connection_makes_room(tmp_path: Path) -> None:
    """Whoever connects only to be silent keeps nobody out."""

    async def main() -> None:
        refused: list[str] = []
        world, console, port = await serve(tmp_path, refused)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(ROOM + 2)]
        assert b"well\n" in await ask(port, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert len(refused) == 3 and len(console.open) <= ROOM
        for reader, _ in silent[:3]:
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in silent[3:])
        for _, writer in silent:
            writer.close()
        console.close()
        await world.close()

    run_loop(main)
