"""A cell that any checker has to fault, also when it is calm: it says that it deleted a node, and keeps it."""

from __future__ import annotations

from typing import Any

from loggos.app.build import Parts
from loggos.coordination.machine import CoordinationMachine


class ForgetfulMachine(CoordinationMachine):
    """All nodes forget alike, so their states are equal: only what clients see tells."""

    def _do_delete(self, run: Any, path: bytes, version: int) -> bytes:
        return b""


PARTS = Parts(machine=ForgetfulMachine)
