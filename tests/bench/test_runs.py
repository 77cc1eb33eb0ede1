"""The benchmarks' own processes, started for real against a server in a thread: figures come back, failures become problems."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loggos.app.bench import coordination, failover, wire, writers
from loggos.app.bench.loadgen import LoadError, Plan
from loggos.app.bench.report import Report
from loggos.app.clusters import Cluster
from tests.bench.fake_server import FakeServer


class ServerAsCluster(Cluster):
    """A cluster of one fake server that has no process of its own."""

    name = label = "fake"

    def __init__(self, server: FakeServer, directory: Path) -> None:
        super().__init__(directory)
        self.server = server

    @property
    def addresses(self) -> tuple[wire.Address, ...]:
        return (self.server.address,)

    def spawn(self) -> None:
        """It runs already."""

    def restart(self, node: int) -> None:
        """It cannot be killed."""

    def root_pid(self, node: int) -> int | None:
        return None

    def check_alive(self) -> None:
        """It never ends."""

    def terminate(self) -> list[int]:
        return []

    def peer_ports(self, node: int) -> tuple[int, ...]:
        return ()

    def fdatasync(self) -> dict[str, float] | None:
        return None

    def settings(self) -> str:
        return "none"


class FailingLater(FakeServer):
    """Refuses the second write of a znode."""

    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        return self.frame(xid, -4, b"") if self.versions[path] == 1 else super().set_data(xid, path, value)


def options() -> coordination.Options:
    return coordination.Options(seconds=0.1, warmup_s=0.05, repeats=1)


def test_a_load_in_its_own_process_gives_figures(tmp_path: Path) -> None:
    with FakeServer() as server:
        plan = Plan(addresses=(server.address,), operation="setData", clients=2, warmup_s=0.05, seconds=0.1)
        figures = coordination.run_load(ServerAsCluster(server, tmp_path), plan)
    assert figures["operations"] > 0
    assert set(figures) >= {"ops_per_s", "p50_ms", "p99_ms", "p999_ms", "max_ms", "cpu_us_per_op", "generator_cpu_us_per_op"}


def test_a_failed_load_is_a_problem_and_no_figure(tmp_path: Path) -> None:
    report = Report("x")
    with FailingLater() as server:
        item = coordination.Measured(ServerAsCluster(server, tmp_path))
        coordination.measure_once(item, coordination.SCENARIOS[0], 0, options(), report)
    assert item.runs == {}
    assert len(report.problems) == 1
    assert "error -4" in report.problems[0]
    assert report.exit_code == 1


def test_the_writers_process_tells_its_gaps() -> None:
    with FakeServer() as server:
        load = failover.Load(writers.Plan(addresses=(server.address,), silence_s=0.2, gap_ms=100.0))
        load.wait_acknowledged(time.monotonic())
        hit = time.monotonic()
        server.mute = True
        time.sleep(0.3)
        server.mute = False
        load.wait_acknowledged(time.monotonic())
        tally = load.finish()
    assert load.longest_gap(hit, time.monotonic()) >= 0.25
    assert load.longest_gap(hit + 1000, hit + 1001) == 0.0
    assert tally["acknowledged"] > 0
    assert tally["acknowledged_writes_lost"] == 0


def test_writers_that_find_no_server_say_so() -> None:
    with FakeServer() as server:
        gone = server.address
    with pytest.raises(LoadError, match="did not start"):
        failover.Load(writers.Plan(addresses=(gone,)))
