"""Parts that are not deterministic, on purpose: the explorer has to notice."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from loggos.app.build import Parts
from loggos.coordination.zookeeper.server import ZooKeeperDoor


class AskingDoor(ZooKeeperDoor):
    """Lets the process it runs in decide how long it takes to open."""

    async def listen(self, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(os.getpid() % 1000 / 1000)  # whole milliseconds apart: lines of a trace show microseconds
        return await super().listen(*arguments, **options)


PARTS = Parts(door=AskingDoor)
