"""Loggos: coordination, streams, files, jobs and planning on one replicated log.

This module is the public face: names that users import. It must stay cheap to import (no clients are loaded until asked for).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__released__ = "2026-11-22"  # the day of this version, changed together with it

if TYPE_CHECKING:
    from loggos.client import Cluster, DistributedLock, connect

__all__ = ["Cluster", "DistributedLock", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    """Load the client on first use (PEP 562), so that `import loggos` costs nothing on a node."""
    if name in ("Cluster", "DistributedLock", "connect"):
        from loggos import client

        return getattr(client, name)
    raise AttributeError(f"module 'loggos' has no attribute {name!r}")
