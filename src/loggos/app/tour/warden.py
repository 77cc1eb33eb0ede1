"""Ends the tour's nodes if the tour itself is killed: `python -m loggos.app.tour.warden`, pids on stdin, one a line.

When stdin ends, every process named there that still lives is ended. After an orderly end there is none left. A pid counts
only for the process that had it when it was named, so a pid that was given to another process since is left alone.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable

import psutil


def known(lines: Iterable[str]) -> list[psutil.Process]:
    """The processes named, as they were when each was named; those already gone are left out."""
    processes = []
    for line in lines:
        try:
            processes.append(psutil.Process(int(line)))
        except psutil.NoSuchProcess:
            pass
    return processes


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in known(iter(sys.stdin.readline, "")):
        try:
            process.kill()  # refuses by itself if the pid is another process's now
        except psutil.NoSuchProcess:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
