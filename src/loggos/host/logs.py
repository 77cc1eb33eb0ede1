"""Structured logs: one line per event, `time event key=value …`, to stderr and a file of the data directory.

Values with spaces are quoted as JSON. The file is appended to and turned over once (node.log, node.log.1) at LOG_FILE_BYTES_MAX.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from loggos.base.limits import LOG_FILE_BYTES_MAX


def format_value(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text


class EventLog:
    """Call it: `log("leader", leader=2)`."""

    def __init__(self, path: Path | None, node: int, stderr: IO[str] | None = None) -> None:
        self._path, self._node = path, node
        self._stderr = stderr if stderr is not None else sys.stderr
        self._file: IO[str] | None = None

    def __call__(self, event: str, **fields: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rest = " ".join(f"{key}={format_value(value)}" for key, value in fields.items())
        line = f"{now} node={self._node} {event}{': ' if rest else ''}{rest}\n"
        self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._stderr.write(line)
            self._stderr.flush()
            file = self._open()
            if file is not None:
                file.write(line)
                file.flush()
        except OSError:
            return  # a full disk or a closed terminal must not stop a node

    def _open(self) -> IO[str] | None:
        if self._path is None:
            return None
        if self._file is not None and self._file.tell() > LOG_FILE_BYTES_MAX:
            self._file.close()
            self._file = None
            self._path.replace(self._path.with_suffix(".log.1"))
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        return self._file


Logger = Callable[..., None]
