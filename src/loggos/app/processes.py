"""Processes of this machine that benchmarks and the tour start: their environment, their trees, what they use, signals to them.

Only processes that the caller started may be signalled, by pid. A process that has just ended is no error: it has no tree, no
memory, and hears no signal.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

import loggos


def child_environment() -> dict[str, str]:
    """Our environment, with this very Loggos importable, installed or not."""
    source = str(Path(loggos.__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{known}" if known else source}


def stop_signals() -> list[signal.Signals]:
    """What ends a command in order. SIGHUP (its terminal is gone) only if it is not ignored: nohup wants the command to go on."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def rss_bytes(process: psutil.Process) -> int:
    """Resident memory; 0 of a process that has just ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time; 0 of a process that has just ended."""
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Signal a process and its descendants, parents first (so that none is started anew)."""
    for process in process_tree(pid):
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(item.status == psutil.CONN_LISTEN and item.laddr.port == port for item in process.net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False
