"""Judges mutants: one process that has the test tools loaded, and forks a child for every stage of every mutant.

Run as a script in a private copy of the checkout (its root is the working directory), so that the copy's tests and sources are
what is imported. A job is one JSON line on standard input, its verdict one JSON line on standard output:

    {"module": "loggos.storage.journal", "sentinel": "…", "stages": [{"pytest": […]} | {"sim": [seed, scenario, chaos_s]}],
     "cpu_s": 60, "wall_s": 240}
    {"killed": true, "by": "tests/…::test_…", "how": "failed" | "timeout" | "crash" | "violation", "cpu_s": [1.2, …]}

A child that passes must prove that it imported the mutated module: the sentinel, a global that the runner appended to it.
Standard library only, besides pytest and what it loads. Knows nothing of mutations.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

MEMORY_BYTES_MAX = 3 << 30
TEST_CPU_S = 12.0  # of one test; the slowest needs 3
IDLE_S = 30.0  # without any use of the processor, on a machine however busy: it waits for ever


class FirstFailure:
    """A pytest plugin: the first test that fails, or module that cannot be collected. A test that spins is ended."""

    def __init__(self, out: int) -> None:
        self.node_id = ""
        self._out = out
        self._running = ""
        signal.signal(signal.SIGVTALRM, self._spins)

    def _spins(self, number: int, frame: Any) -> None:
        os.write(self._out, json.dumps({"killed": True, "by": self._running, "how": "timeout"}).encode())
        os._exit(0)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running = nodeid
        signal.setitimer(signal.ITIMER_VIRTUAL, TEST_CPU_S)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.node_id:
            self.node_id = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.node_id:
            self.node_id = f"{report.nodeid} (import)"


def run_pytest(arguments: list[str], out: int) -> dict[str, Any]:
    import pytest

    first = FirstFailure(out)
    options = ["-x", "-q", "--tb=short", "--no-header", "-p", "no:cacheprovider", "--timeout=0"]
    code = int(pytest.main([*arguments, *options], plugins=[first]))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return {"killed": code != 0, "by": first.node_id or f"pytest exit code {code}", "how": "failed"}


def run_sim(seed: int, scenario: str, chaos_s: float) -> dict[str, Any]:
    for path in ("src", "."):
        sys.path.insert(0, os.path.abspath(path))
    from loggos.app.simulation.scenario import SCENARIOS, run_seed, shortened

    report = run_seed(seed, shortened(SCENARIOS[scenario], chaos_s))
    broken = [str(violation) for violation in report.violations if violation.rule != "real-work"]  # it is short on purpose
    said = broken[0][:200] if broken else ""
    return {"killed": bool(broken), "by": f"simulation of seed {seed}, {scenario}: {said}", "how": "violation"}


def child(job: dict[str, Any], stage: dict[str, Any], out: int) -> None:
    """The whole life of a forked child; never returns."""
    os.setpgid(0, 0)
    if sys.platform == "linux":  # elsewhere it may not be lowered
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (int(job["cpu_s"]), int(job["cpu_s"]) + 5))
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    verdict: dict[str, Any] = {"killed": True, "by": "", "how": "crash"}
    try:
        verdict = run_pytest(stage["pytest"], out) if "pytest" in stage else run_sim(*stage["sim"])
        module = sys.modules.get(job["module"])
        if not verdict["killed"]:
            verdict["sentinel"] = getattr(module, "MUTANT", None)
    except BaseException as error:  # whatever a mutant does to its child is a verdict
        verdict["by"] = f"{next(iter(stage))}: {type(error).__name__}"
    os.write(out, json.dumps(verdict).encode())
    os._exit(0)


def processor_ticks(pid: int) -> str:
    """What the child has used of the processor so far; "" where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return " ".join(file.read().rpartition(")")[2].split()[11:13])
    except OSError:
        return ""


def read_all(source: int, pid: int, deadline: float) -> tuple[bytes, bool]:
    """What the child writes until it closes; True: it did not come to an end, but waits, or takes too long."""
    said, ticks, moved = b"", "", time.monotonic()
    while (now := time.monotonic()) < deadline:
        if select.select([source], [], [], 1.0)[0]:
            piece = os.read(source, 1 << 16)
            if not piece:
                return said, False
            said += piece
        used = processor_ticks(pid)
        if used != ticks or not used:
            ticks, moved = used, now
        elif now - moved > IDLE_S:
            break
    return said, True


def judge_stage(job: dict[str, Any], stage: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait, and read what the child says; silence or a hang is a kill, too."""
    read_end, write_end = os.pipe()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        child(job, stage, write_end)
    os.close(write_end)
    said, is_late = read_all(read_end, pid, time.monotonic() + job["wall_s"])
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    status = os.waitpid(pid, 0)[1]
    os.close(read_end)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    if said:
        return {**json.loads(said), "cpu": cpu_s}
    how = "timeout" if is_late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU) else "crash"
    return {"killed": True, "by": next(iter(stage)), "how": how, "cpu": cpu_s}


def judge(job: dict[str, Any]) -> dict[str, Any]:
    """Stage after stage until one kills."""
    spent = []
    verdict: dict[str, Any] = {}
    for stage in job["stages"]:
        verdict = judge_stage(job, stage)
        spent.append(verdict.pop("cpu"))
        if verdict["killed"]:
            break
        if verdict["sentinel"] != job["sentinel"]:
            verdict = {"error": f"{job['module']} was not imported from the mutated copy: {verdict['sentinel']!r}"}
            break
    return {**verdict, "cpu_s": spent}


def main() -> None:
    sys.dont_write_bytecode = "--write-bytecode" not in sys.argv
    sys.path[:] = [path for path in sys.path if path and not path.startswith(os.path.dirname(os.path.abspath(__file__)))]
    import asyncio  # noqa: F401

    import crc32c  # type: ignore[import-not-found]  # noqa: F401
    import hypothesis
    import hypothesis.internal.conjecture.engine
    import hypothesis.strategies  # noqa: F401
    import msgspec  # noqa: F401
    import pytest  # noqa: F401

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(judge(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
