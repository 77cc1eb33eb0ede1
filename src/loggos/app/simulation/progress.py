"""How far the explorer is: a bar on a terminal, a line per seed elsewhere. Both on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Use with `with`."""

    def __init__(self, seeds: int) -> None:
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"))
            self._bar = Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("seeds", total=seeds, failed=0)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, line: str, failed: int) -> None:
        """One seed more is known."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1, failed=failed)
        else:
            print(line, file=sys.stderr, flush=True)

    def interrupt(self, say: Callable[[], None]) -> None:
        """Print something that stays, above the bar."""
        if self._bar is None:
            say()
            return
        self._bar.stop()
        say()
        self._bar.start()
