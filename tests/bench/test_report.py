"""What the benchmarks print, record and compute from their figures."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path

import pytest

from loggos.app.bench import coordination, failover, main, metrics, report, workspace
from loggos.app.bench.peers import LoggosCluster
from loggos.app.clusters import NODES, free_base_port
from loggos.app.ports import PORTS_PER_NODE
from loggos.base.errors import ConfigError

SAMPLE = report.Report(
    "sample",
    {"machine": "2 cores"},
    [report.Table("T", ("system", "ops/s"), [("Loggos", "40,000"), ("a|b", "7")])],
    notes=["one note"],
    data={"systems": {"loggos": 1}},
)


def test_plain_text_lines_columns_up() -> None:
    out = io.StringIO()
    report.write(SAMPLE, out)
    lines = out.getvalue().splitlines()
    assert lines[lines.index("T") + 1 :][:3] == ["system  ops/s", "Loggos  40,000", "a|b     7"]
    assert lines[-1] == "  note: one note"


def test_json_holds_everything() -> None:
    value = json.loads(report.to_json(SAMPLE))
    assert value["systems"] == {"loggos": 1}
    assert value["facts"]["machine"] == "2 cores"
    assert value["notes"] == ["one note"]
    assert value["problems"] == []


def test_results_are_appended_with_date_and_command(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n")
    words = report.command_words(["coordination", "--record", "x.md", "--seconds", "5", "--data=/somewhere"])
    report.append_results(SAMPLE, path, words, date(2026, 1, 2))
    text = path.read_text()
    assert text.startswith("# Results\n\n## 2026-01-02: sample\n")
    assert "`loggos bench coordination --seconds 5`" in text
    assert "| a\\|b | 7 |" in text


def test_a_problem_makes_the_exit_code_one() -> None:
    assert report.Report("x").exit_code == 0
    assert report.Report("x", problems=["broken"]).exit_code == 1


@pytest.mark.parametrize(
    ("values", "goal", "expected"),
    [
        ([40.0, 10.0], 4.0, ("4.00×", "≥ 4×: met")),
        ([39.0, 10.0], 4.0, ("3.90×", "≥ 4×: MISSED")),
        ([40.0, 10.0], None, ("4.00×", "")),
        ([40.0, None], 4.0, ("", "≥ 4×")),
        ([40.0], None, ("", "")),
    ],
)
def test_ratios_are_judged_against_their_goal(values: list[float | None], goal: float | None, expected: tuple[str, str]) -> None:
    assert coordination.compare(values, goal) == expected


def test_the_table_has_medians_and_the_worst_maximum(tmp_path: Path) -> None:
    item = coordination.Measured(LoggosCluster(tmp_path))
    run = {"p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 3.0, "cpu_us_per_op": 10.0}
    item.runs["set50"] = [{**run, "ops_per_s": rate, "max_ms": worst} for rate, worst in ((10.0, 5.0), (30.0, 50.0), (20.0, 6.0))]
    rows = coordination.scenario_rows(coordination.SCENARIOS[0], [item])
    assert rows[0][:4] == ("setData, 50 clients one at a time", "Loggos", "20", "10–30")
    assert rows[0][4:] == ("1.00", "2.00", "3.00", "50.0", "10.0", "", "≥ 4×")
    assert len(rows) == 1
    assert len(rows[0]) == len(coordination.LOAD_COLUMNS)


def test_fail_over_is_judged_by_median_and_worst(tmp_path: Path) -> None:
    options = failover.Options()
    item = failover.Measured(LoggosCluster(tmp_path), gaps_ms=[100.0, 150.0, 499.0])
    assert failover.row(item, options)[1:5] == ("3", "150", "499", "100")
    assert failover.row(item, options)[-1] == "≤ 200 / 500 ms: met"
    item.gaps_ms.append(501.0)
    assert failover.row(item, options)[-1] == "≤ 200 / 500 ms: MISSED"


def test_mntr_gives_the_syncs() -> None:
    text = "zk_version\t3.8.0\nzk_avg_fsynctime\t0.25\nzk_max_fsynctime\t52\nzk_cnt_fsynctime\t10\n"
    assert metrics.fsync_of_mntr(text) == {"mean_ms": 0.25, "max_ms": 52.0, "count": 10.0}
    assert metrics.fsync_of_mntr("zk_version\t3.8.0\n") is None


def test_openmetrics_gives_percentiles_of_the_fdatasync_histogram() -> None:
    text = "\n".join(
        [
            "# TYPE loggos_fdatasync_seconds histogram",
            'loggos_fdatasync_seconds_bucket{le="0.001"} 60',
            'loggos_fdatasync_seconds_bucket{le="0.01"} 98',
            'loggos_fdatasync_seconds_bucket{le="0.1"} 100',
            'loggos_fdatasync_seconds_bucket{le="+Inf"} 100',
            'loggos_turn_seconds_bucket{le="+Inf"} 7',
        ]
    )
    assert metrics.fsync_of_openmetrics(text) == {"p50_ms": 1.0, "p99_ms": 100.0, "count": 100.0}
    assert metrics.fsync_of_openmetrics("") is None


def test_impossible_orders_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["coordination", "--peer", "none", "--skip-loggos"]) == 2
    assert capsys.readouterr().err == "loggos bench: nothing to measure: Loggos is left out and there is no peer\n"
    with pytest.raises(ConfigError, match="choose among set50"):
        coordination.run(coordination.Options(only=("nothing",)))
    with pytest.raises(ConfigError, match="choose among kill"):
        failover.run(failover.Options(fault="drown"))
    with pytest.raises(ConfigError, match="unknown peer"):
        workspace.make(workspace.Systems(peer="etcd"), Path())


def test_two_clusters_of_one_run_get_different_ports() -> None:
    first = free_base_port()
    second = free_base_port([first])
    assert abs(first - second) >= PORTS_PER_NODE * NODES


def test_a_memory_file_system_is_refused() -> None:
    with pytest.raises(ConfigError, match="lies in memory"):
        workspace.check_disk(Path("/x"), "tmpfs")
    workspace.check_disk(Path("/x"), "ext4")
