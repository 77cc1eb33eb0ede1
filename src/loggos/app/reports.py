"""Where a command writes its report: looked at before the work begins, so that no hour of it is lost to a wrong path.

Rules: every refusal is a ConfigError that names the path and says what to do. The look is no promise (a disk can fill up while
the command works), so writing refuses in the same way. Must not know what a report says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from loggos.base.errors import ConfigError


def check_report_path(report: Path, may: Callable[[str, int], bool] = os.access, option: str = "--report") -> None:
    """ConfigError before anything is started, if the report cannot be written. `may`: whether a path can be used in a mode;
    `option`: what the user gave the path with."""
    if os.path.isdir(report):
        raise ConfigError(f"{option} {report} is a directory: name a file in it")
    target = str(report)
    try:
        os.stat(target)
    except (FileNotFoundError, NotADirectoryError):  # not there yet: its directory must take it, the one that a link leads to
        target = os.path.dirname(os.path.realpath(report))
        if not os.path.isdir(target):
            raise ConfigError(f"{option} {report}: there is no directory {target}: make it, or name another") from None
    except OSError as error:
        raise refusal(report, error, option) from None
    if not may(target, os.W_OK):
        raise ConfigError(f"{option} {report}: you may not write to {target}: change its permissions, or name another file")


def write_report(report: Path, text: str, option: str = "--report") -> None:
    """ConfigError if it cannot be written after all."""
    try:
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise refusal(report, error, option) from None


def refusal(report: Path, error: OSError, option: str) -> ConfigError:
    return ConfigError(f"{option} {report} cannot be written: {error.strerror or error}: mend that, or name another file")
