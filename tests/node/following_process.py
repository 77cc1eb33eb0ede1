"""A process of its own that follows a ledger through a node's socket: `python -m tests.node.following_process SOCKET COUNT`.

It proposes COUNT commands, waits until its copy holds them all, and prints its copy as one JSON line; then again for each line
that it reads, until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile

from loggos.base.errors import OverloadedError
from loggos.base.ids import NodeId
from loggos.host.loop import run
from loggos.host.world import HostWorld
from loggos.node.remote.client import RemoteLog
from loggos.node.remote.mirror import MachineMirror
from tests.node.kit import LEDGER, Ledger, OutcomeJson, Watcher


async def follow(path: str, count: int, directory: str) -> None:
    ledger = Ledger()
    log = RemoteLog(
        HostWorld(directory),
        path,
        LEDGER,
        {LEDGER: OutcomeJson()},
        MachineMirror(ledger),
        cell="kit",
        node=NodeId(1),
        name="following process",
        log=lambda event, **fields: None,
        fatal=lambda error: sys.exit(str(error)),
    )
    watcher = Watcher(log)
    log.follow(LEDGER, watcher)
    await log.start()
    sent = 0
    while ledger.totals.get("process", 0) < count:
        try:
            while sent < count:
                log.propose(LEDGER, b"process=1")
                sent += 1
        except OverloadedError:
            pass
        await asyncio.sleep(0.002)
    lines = asyncio.get_running_loop()
    while True:
        replies = sum(1 for event in watcher.of("applied") if event[5])
        print(json.dumps({"totals": ledger.totals, "index": log.index, "replies": replies}), flush=True)
        if not await lines.run_in_executor(None, sys.stdin.readline):
            return


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        run(lambda: follow(sys.argv[1], int(sys.argv[2]), scratch))
