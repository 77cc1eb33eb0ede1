"""kazoo's own test suite, which its wheel ships, against three running nodes: not one test is changed.

Only where its harness finds its servers is ours (kazoo_plugin.py); what is left out is named, with the reason, in left_out.py.
The suite runs in a process of its own, since it has its own idea of logging, signals and threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import kazoo.version
import pytest

from tests.interop import zookeeper
from tests.interop.cluster import pythonpath
from tests.interop.left_out import LEFT_OUT

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).with_name("stand_ins")
RUN_DEADLINE_S = 540  # takes about 80 s alone on two cores; a bound against a hang

# How many tests of each file pass, in the version that constraints.txt pins: no test may vanish in silence.
KNOWN_VERSION = "2.11.0"
PASSED: dict[str, int] = {
    "test_barrier.py": 8,
    "test_build.py": 1,
    "test_cache.py": 17,
    "test_client.py": 107,
    "test_connection.py": 10,
    "test_counter.py": 5,
    "test_election.py": 2,
    "test_exceptions.py": 4,
    "test_hosts.py": 3,
    "test_interrupt.py": 1,
    "test_lease.py": 12,
    "test_lock.py": 31,
    "test_partitioner.py": 8,
    "test_party.py": 4,
    "test_paths.py": 16,
    "test_queue.py": 12,
    "test_retry.py": 7,
    "test_security.py": 4,
    "test_selectors_select.py": 5,
    "test_threading_handler.py": 22,
    "test_utils.py": 7,
    "test_watchers.py": 22,
}


class Outcome(NamedTuple):
    """What became of each test, why it did not pass, and what pytest printed."""

    outcomes: dict[str, str]
    reasons: dict[str, str]
    printed: str

    def named(self, *kinds: str) -> dict[str, str]:
        """Tests with one of these outcomes, each with its reason."""
        return {name: self.reasons.get(name, "") for name, outcome in self.outcomes.items() if outcome in kinds}


def run_suite(servers: str, folder: Path) -> Outcome:
    results = folder / "results.json"
    (folder / "empty.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZOOKEEPER_")}
    environment |= {
        "CI": "1",  # else test_build.py skips itself
        "PYTHONPATH": pythonpath(ROOT, STAND_INS),
        "LOGGOS_SUITE_SERVERS": servers,
        "LOGGOS_SUITE_FOLDER": str(folder / "servers"),
        "LOGGOS_SUITE_RESULTS": str(results),
    }
    options = ["-c", str(folder / "empty.ini"), "--rootdir", str(folder), "-q", "--tb=short", "--timeout=120"]
    plugins = ["-p", "no:cacheprovider", "-p", "tests.interop.kazoo_plugin"]
    command = [sys.executable, "-m", "pytest", *options, *plugins, "--pyargs", "kazoo.tests"]
    with (folder / "pytest.log").open("wb") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=RUN_DEADLINE_S, check=False)
    printed = (folder / "pytest.log").read_text("utf-8", "replace")
    assert results.exists(), f"the suite did not end: {printed[-3000:]}"
    return Outcome(**json.loads(results.read_text()), printed=printed)


def check(found: Outcome) -> None:
    """Every test that is not left out by name has passed, and none is missing."""
    failed = found.named("failed", "skipped")
    assert not failed, "\n\n".join(f"{name}\n{why}" for name, why in failed.items())
    unused = [glob for glob in LEFT_OUT if not any(fnmatchcase(name, glob) for name in found.outcomes)]
    assert not unused, f"left_out.py names tests that do not exist: {unused}"
    passed = Counter(name.partition("::")[0] for name in found.named("passed"))
    if kazoo.version.__version__ == KNOWN_VERSION:
        assert dict(sorted(passed.items())) == PASSED
    assert passed.total() >= 300


def show(found: Outcome) -> None:
    """The reasons for what was left out, for the reader of the run."""
    left_out = Counter(found.reasons[name] for name in found.named("left out"))
    print(f"kazoo {kazoo.version.__version__}: {len(found.named('passed'))} passed, {left_out.total()} left out:", dict(left_out))


@pytest.mark.process
@pytest.mark.interop
@pytest.mark.timeout(RUN_DEADLINE_S + 60)
def test_the_suite_passes_on_loggos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_suite("loggos", tmp_path)
    with capsys.disabled():
        show(found)
    check(found)


@pytest.mark.full
@pytest.mark.process
@pytest.mark.interop
@pytest.mark.timeout(RUN_DEADLINE_S + 60)
def test_the_suite_passes_on_apache_zookeeper(tmp_path: Path) -> None:
    """The same choice of tests on the peer: what we leave out is not what would fail there."""
    why = zookeeper.missing()
    if why is not None:
        pytest.skip(why)
    check(run_suite("zookeeper", tmp_path))
