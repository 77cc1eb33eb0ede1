"""Runs of seeds in processes of their own: what to run, and how a process is told to.

Every process is a new interpreter with PYTHONHASHSEED=0, so sets of strings have one order, and nothing that ran before (but
what it was itself told to run) can have left anything behind. A process that dies or hangs is a result, too. Calls and results
travel pickled over its standard input and output.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import loggos
from loggos.app.build import Parts
from loggos.app.simulation.scenario import Run, RunReport, Scenario, scenario_for
from loggos.base.errors import ConfigError
from loggos.base.limits import SIM_PROCESS_TIMEOUT_S
from loggos.sim.nemesis import Schedule

Call = tuple[Callable[..., Any], tuple[Any, ...]]
SOURCE: Final = Path(loggos.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Task:
    """One run. `plant`: "package.module:name" of other Parts, or of a function that gives them; "" for the real ones."""

    seed: int
    scenario: Scenario | None = None
    plant: str = ""
    schedule: Schedule | None = None
    record: bool = False

    @property
    def played(self) -> Scenario:
        return self.scenario or scenario_for(self.seed)

    def with_schedule(self, schedule: Schedule) -> Task:
        return replace(self, schedule=schedule)


class Recorded(NamedTuple):
    """A run with its readable lines, and when each operation of the log was first applied: (index, time)."""

    report: RunReport
    applied_at: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Crash:
    """A call that gave no result: its process ended, or did not end."""

    message: str
    text: str = ""


# --- what the processes run ----------------------------------------------------------------------------------------------


def parts_of(plant: str) -> Parts:
    """The parts that a task names. ConfigError when there are none of that name."""
    if not plant:
        return Parts()
    module_name, _, name = plant.partition(":")
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"no parts called {plant!r} (package.module:name): {error}") from None
    parts = found if isinstance(found, Parts) else found()
    if not isinstance(parts, Parts):
        raise ConfigError(f"{plant!r} is neither Parts nor a function that gives them")
    return parts


def _run_of(task: Task) -> Run:
    return Run(task.seed, task.played, parts_of(task.plant), task.schedule, task.record)


def play(task: Task) -> RunReport:
    """Run it here."""
    return _run_of(task).execute()


def play_recorded(task: Task) -> Recorded:
    """Run it here, with every line."""
    run = _run_of(replace(task, record=True))
    report = run.execute()
    return Recorded(report, [(entry.index, entry.applied_at or 0.0) for entry in run.recorder.log])


def schedule_of(task: Task) -> Schedule:
    """What the nemesis would do in it."""
    return _run_of(task).schedule


def serve() -> None:
    """The life of a process: calls from standard input, results to standard output, each as soon as it is there."""
    calls: list[Call] = pickle.load(sys.stdin.buffer)
    with os.fdopen(os.dup(1), "wb") as results:
        os.dup2(2, 1)  # whatever prints must not come between the results
        for function, arguments in calls:
            pickle.dump(function(*arguments), results)
            results.flush()


def source_state() -> int:
    """Changes when a file of the program does: each process reads it anew, so it must not change between two runs."""
    stats = [(str(path), path.stat()) for path in sorted(SOURCE.glob("loggos/**/*.py"))]
    return zlib.crc32(repr([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]).encode())


# --- processes -----------------------------------------------------------------------------------------------------------


class Processes:
    """Starts such processes; `stop` ends those that run. Safe to use from several threads."""

    def __init__(self, timeout_s: float = SIM_PROCESS_TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """One new process makes all the calls, in order. A result per call; Crash from the first that gave none."""
        process = subprocess.Popen(
            [sys.executable, "-m", "loggos.app.simulation.jobs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
        self._running[process.pid] = process
        try:
            if self._stopping:
                process.kill()
            output, errors = process.communicate(pickle.dumps(list(calls)), self.timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            errors += f"did not end within {self.timeout_s:.0f} s and was killed\n".encode()
        finally:
            del self._running[process.pid]
        results = list(_unpickle_all(output))
        if len(results) < len(calls):
            results += [_crash_of(process.returncode, errors)] * (len(calls) - len(results))
        return results

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One call in a process of its own; its result or a Crash."""
        return self.run([(function, arguments)])[0]

    def stop(self) -> None:
        self._stopping = True
        for process in list(self._running.values()):
            process.kill()


def _environment() -> dict[str, str]:
    """As ours, with the hash seed fixed; the code is found where ours was, plants also from the working directory."""
    paths = [str(SOURCE), str(Path.cwd()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path)}


def _unpickle_all(data: bytes) -> Iterable[Any]:
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return  # it died in the middle of one


def _crash_of(code: int, errors: bytes) -> Crash:
    text = errors.decode(errors="replace").strip()
    return Crash(text.splitlines()[-1] if text else f"the process ended with code {code}", text)


if __name__ == "__main__":
    # Under its importable name, so that what it unpickles and pickles are the same classes as its parent's.
    import_module("loggos.app.simulation.jobs").serve()
