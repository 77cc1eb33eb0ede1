"""Lines of a measurement file, of bounded length: a shell around open(), with gzip by its first bytes.

What is no text says so: a UTF-16 export, a binary file. Bytes that are no UTF-8 are replaced and reported.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from loggos.base.errors import InputError
from loggos.base.limits import OBSERVE_DOCUMENT_BYTES_MAX, OBSERVE_LINE_BYTES_MAX
from loggos.planner.observe.findings import Kind, Ledger, Severity

_READ_ERRORS = (OSError, EOFError, zlib.error)  # gzip.BadGzipFile is an OSError


def lines(path: Path, ledger: Ledger, line_bytes_max: int = OBSERVE_LINE_BYTES_MAX) -> Iterator[str]:
    """The lines of a file with their line ends. InputError: cannot be read, no text, or a line longer than the limit."""
    count = 0
    with _opened(path) as file:
        while True:
            try:
                raw = file.readline(line_bytes_max + 1)
            except _READ_ERRORS as error:
                raise InputError(f"{path}:{count + 1}: cannot be read further: {_reason(error)}") from error
            if not raw:
                return
            count += 1
            if len(raw) > line_bytes_max:
                raise InputError(f"{path}:{count}: a line of more than {line_bytes_max:,} bytes; is this a file of measurements?")
            if count == 1:
                raw = _first(path, raw)
            yield _decoded(path, count, raw, ledger)


def document(path: Path, bytes_max: int = OBSERVE_DOCUMENT_BYTES_MAX) -> bytes:
    """A whole file. InputError: cannot be read, or larger than the limit."""
    with _opened(path) as file:
        try:
            raw = file.read(bytes_max + 1)
        except _READ_ERRORS as error:
            raise InputError(f"{path} cannot be read: {_reason(error)}") from error
    if len(raw) > bytes_max:
        raise InputError(f"{path} is larger than {bytes_max:,} bytes; query a shorter span or a coarser step")
    return raw


def _opened(path: Path) -> IO[bytes]:
    try:
        file = open(path, "rb")  # noqa: SIM115 -- the caller closes it
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened: {_reason(error)}") from error
    try:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
    except OSError as error:
        file.close()
        raise InputError(f"{path} cannot be read: {_reason(error)}") from error
    return gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[return-value]


def _first(path: Path, raw: bytes) -> bytes:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16 text; save it as UTF-8 (in Excel: CSV UTF-8)")
    if raw.count(0) > len(raw) // 100 + 1:
        raise InputError(f"{path} is no text file; measurements are read from CSV, Prometheus text or JSON")
    return raw.removeprefix(b"\xef\xbb\xbf")


def _decoded(path: Path, count: int, raw: bytes, ledger: Ledger) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        ledger.add(
            Kind.BAD_LINE, Severity.WARNING, "bytes that are no UTF-8 were replaced", f"{path}:{count}", "save the file as UTF-8"
        )
        return raw.decode("utf-8", errors="replace")


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
