"""Structured logs: one line per event, `time event key=value …`, to stderr and a file of the data directory.

Values with spaces are quoted as JSON. The file is appended to and turned over once (node.log, node.log.1) at LOG_FILE_BYTES_MAX.
Services, which know no log of events, use `logging`: `logger.info("client refused", {"why": …})`. `EventHandler` makes events of
that, so many of each kind as a log can bear.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from loggos.base.limits import LOG_EVENTS_BURST, LOG_EVENTS_PER_S, LOG_FILE_BYTES_MAX


def format_value(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or not text.isprintable() or any(c in text for c in ' "=') else text


Logger = Callable[..., None]


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


class _Allowance:
    """How many lines of one kind may be written now."""

    __slots__ = ("at_s", "left", "left_out")

    def __init__(self, now_s: float) -> None:
        self.left, self.at_s, self.left_out = float(LOG_EVENTS_BURST), now_s, 0

    def take(self, now_s: float) -> bool:
        self.left = min(self.left + (now_s - self.at_s) * LOG_EVENTS_PER_S, LOG_EVENTS_BURST)
        self.at_s = now_s
        if self.left < 1:
            self.left_out += 1
            return False
        self.left -= 1
        return True


class EventHandler(logging.Handler):
    """Writes what is logged to a log of events: a message with fields as that event, any other as `logged`. Of each kind (an
    event, or what one logger says) LOG_EVENTS_BURST at once and LOG_EVENTS_PER_S for long; the next line says how many were left
    out. What ends the node is always written."""

    def __init__(self, log: Logger, monotonic: Callable[[], float]) -> None:
        super().__init__(logging.INFO)
        self._log, self._monotonic = log, monotonic
        self._allowances: dict[str, _Allowance] = {}

    def emit(self, record: logging.LogRecord) -> None:
        is_event = isinstance(record.args, Mapping)
        now_s = self._monotonic()
        kind = str(record.msg) if is_event else record.name
        allowance = self._allowances.get(kind)
        if allowance is None:
            allowance = self._allowances[kind] = _Allowance(now_s)
        if not allowance.take(now_s) and record.levelno < logging.CRITICAL:
            return
        fields: dict[str, Any] = {}
        if isinstance(record.args, Mapping):
            fields.update(record.args)
        else:
            fields.update(by=record.name, level=record.levelname.lower(), message=record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        if allowance.left_out:
            fields["left_out"], allowance.left_out = allowance.left_out, 0
        self._log(kind if is_event else "logged", **fields)


@contextmanager
def gathered(log: Logger, monotonic: Callable[[], float]) -> Iterator[None]:
    """Meanwhile all that this process logs goes to `log`: what Loggos says from INFO on, what others say from WARNING on."""
    handler, root, ours = EventHandler(log, monotonic), logging.getLogger(), logging.getLogger("loggos")
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(level)
