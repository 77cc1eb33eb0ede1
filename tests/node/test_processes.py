"""The log across two real processes: one that follows, is paused, and is killed; the cell does not mind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.kit import LEDGER, Cell, connect, on_host, until

pytestmark = pytest.mark.process


async def start(cell: Cell, count: int) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = (sys.executable, "-m", "tests.node.following_process", cell.site.socket(1), str(count))
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=environment)


async def says(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the process has ended"
    answer: dict[str, Any] = json.loads(line)
    return answer


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def test_a_process_follows_and_proposes(tmp_path: Path) -> None:
    async def scenario(cell: Cell) -> None:
        cell.serves = [LEDGER]
        cell.start()
        await cell.until_led()
        process = await start(cell, 5000)
        try:
            answer = await says(process)
            assert answer == {"totals": {"process": 5000}, "index": 5000, "replies": 5000}
            assert cell.nodes[1].ledger.totals == {"process": 5000}
        finally:
            await end(process)

    on_host(scenario, tmp_path, voters=1)


def test_a_paused_process_holds_nobody_back_and_syncs_again(tmp_path: Path) -> None:
    async def scenario(cell: Cell) -> None:
        cell.serves = [LEDGER]
        cell.server_options = {"queue_bytes_max": 500_000}
        cell.start()
        await cell.until_led()
        node = cell.nodes[1]
        process = await start(cell, 1)
        try:
            await says(process)
            log, copy, _ = await connect(node)
            process.send_signal(signal.SIGSTOP)
            number = 0
            while not node.logged("following process cut off"):
                number += 1
                assert number < 500, "it was never cut off"
                log.propose(LEDGER, b"other=1" + b"." * 100_000)
                await until(lambda n=number: copy.totals.get("other") == n)
            process.send_signal(signal.SIGCONT)
            await until(lambda: len(node.server._connections) == 2)  # type: ignore[union-attr]
            answer: dict[str, Any] = {}
            while answer.get("totals") != node.ledger.totals:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                answer = await says(process)
            assert answer["totals"] == {"process": 1, "other": number}
            log.stop()
        finally:
            await end(process)
        await until(lambda: not node.server._connections)  # type: ignore[union-attr]

    on_host(scenario, tmp_path, voters=1)
