"""The explorer itself: equal hashes, divergence found and located, failures replayed and shrunk, options and exit codes."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from loggos.app.simulation import report
from loggos.app.simulation.explore import Explorer, Finding
from loggos.app.simulation.jobs import Crash, Processes, Recorded, Task, play, play_recorded
from loggos.app.simulation.main import main, parse_seeds
from loggos.app.simulation.scenario import SCENARIOS, RunReport, shortened
from loggos.app.simulation.shrinking import Shrinker
from loggos.check import Violation
from loggos.sim.nemesis import Schedule, Step
from tests.sim.seeds import CORES, explored

# Ten seconds of chaos: whole nodes, but not a seed that counts.
SHORT = replace(shortened(SCENARIOS["default"], 10.0), operations_min=0)


def without_real_work(finding: Finding) -> list[str]:
    """Short runs do too little work to count; everything else does."""
    return [violation.rule for violation in finding.violations if violation.rule != "real-work"]


def test_one_seed_alone_is_compared_with_a_run_after_another_seed() -> None:
    (finding,) = explored([Task(3, SHORT)])
    assert isinstance(finding.again, RunReport) and finding.report is not None
    assert finding.report.digest == finding.again.digest
    assert finding.report.checkpoints == finding.again.checkpoints
    assert without_real_work(finding) == []


def test_every_task_is_explored_once_and_seeds_differ() -> None:
    findings = explored([Task(seed, SHORT) for seed in (1, 2, 3)])
    assert sorted(finding.task.seed for finding in findings) == [1, 2, 3]
    digests = {finding.task.seed: finding.report.digest for finding in findings if finding.report}
    assert len(dict.fromkeys(digests.values())) == 3
    assert not any(finding.diverges for finding in findings)


def test_recording_changes_nothing() -> None:
    processes = Processes()
    plain, recorded = processes.call(play, Task(4, SHORT)), processes.call(play_recorded, Task(4, SHORT))
    assert isinstance(plain, RunReport) and isinstance(recorded, Recorded)
    assert plain.digest == recorded.report.digest
    assert len(recorded.report.lines) > 1_000 and not plain.lines
    assert recorded.applied_at == sorted(recorded.applied_at)


def test_divergence_is_found_and_located() -> None:
    (finding,) = explored([Task(5, SHORT, plant="tests.sim.nondeterministic:PARTS")])
    assert finding.diverges and not finding.passed
    assert finding.violations[0].rule == "determinism"
    assert "simulated second" in finding.violations[0].message
    assert "is the first to differ" in finding.violations[0].message


def test_a_changed_source_is_told_instead_of_a_divergence() -> None:
    explorer = Explorer(Processes(), 1)
    explorer._source -= 1  # as if it had been another when it began
    assert "source was changed" in explorer.explain_divergence(Finding(Task(1, SHORT), Crash("one"), Crash("two")))[0]


def test_a_process_that_dies_is_a_failed_seed() -> None:
    broken = Schedule(5.0, (Step(1.0, "no such fault", {}),))
    findings = explored([Task(6, SHORT, schedule=broken)], once=True)
    assert isinstance(findings[0].first, Crash)
    assert [violation.rule for violation in findings[0].violations] == ["crash"]
    assert "no such fault" in findings[0].first.text


def test_a_process_that_does_not_end_is_killed_and_told() -> None:
    result = Processes(timeout_s=0.05).call(play, Task(6, SHORT))
    assert isinstance(result, Crash) and "did not end" in result.message


# --- shrinking -----------------------------------------------------------------------------------------------------------


class ScriptedProcesses(Processes):
    """Runs nothing: a schedule fails exactly if it still holds both of two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def call(self, function: object, *arguments: object) -> object:
        (task,) = arguments
        assert isinstance(task, Task) and task.schedule is not None
        self.calls += 1
        actions = [step.action for step in task.schedule.steps]
        return Crash("boom") if "crash" in actions and "wipe" in actions else passing(task)


def passing(task: Task) -> RunReport:
    assert task.schedule is not None
    return RunReport(task.seed, "default", "", [], 67.0, 5.0, 3_000, 2_900, 100, {}, {}, [], task.schedule)


def test_shrinking_keeps_what_fails_and_drops_the_rest() -> None:
    noise = [Step(float(at), "stall", {"host": "n1"}) for at in range(1, 20)]
    steps = (*noise[:5], Step(5.5, "crash", {}), *noise[5:9], Step(9.5, "wipe", {}), *noise[9:])
    task = Task(1, SCENARIOS["default"])
    failing = replace(passing(task.with_schedule(Schedule(20.0, steps))), violations=[Violation("crash", "…")])
    processes = ScriptedProcesses()
    shrunk = Shrinker(processes).shrink(Finding(task, failing))
    assert shrunk is not None and shrunk.rule == "crash"
    assert [step.action for step in shrunk.schedule.steps] == ["crash", "wipe"]
    assert shrunk.schedule.chaos_s == 10.0, "the end of the chaos was cut off"
    assert shrunk.runs == processes.calls <= 60
    assert Schedule.from_json(shrunk.schedule.to_json()) == shrunk.schedule


def test_shrinking_is_bounded() -> None:
    steps = tuple(Step(float(at), "crash" if at % 2 else "wipe", {}) for at in range(1, 40))
    task = Task(1, SCENARIOS["default"])
    failing = replace(passing(task.with_schedule(Schedule(40.0, steps))), violations=[Violation("crash", "…")])
    processes = ScriptedProcesses()
    assert Shrinker(processes, runs_max=7).shrink(Finding(task, failing)) is not None
    assert processes.calls <= 7


def test_a_real_failure_shrinks_to_a_schedule_that_replays_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seeds", "7", "--scenario", "calm", "--once", "--plant", "tests.sim.forgetful:PARTS"]
    assert main([*options, "--shrink-runs", "4", "--save", str(tmp_path), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    (failure,) = answer["failures"]
    assert failure["violations"] and failure["seed"] == 7
    assert failure["replay"] == "loggos sim --seeds 7..7 --scenario calm --plant tests.sim.forgetful:PARTS --trace"
    assert main([*options, "--schedule", failure["schedule"], "--trace", "--trace-lines", "50"]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and failure["violations"][0]["rule"] in out
    assert len(out.splitlines()) < 200


# --- the command line ----------------------------------------------------------------------------------------------------


def test_seeds_are_one_a_range_or_a_list() -> None:
    assert parse_seeds("7") == [7]
    assert parse_seeds("3..6") == [3, 4, 5, 6]
    assert parse_seeds("1,5,4..6") == [1, 5, 4, 6]
    for wrong in ("", "a", "5..3", "1..", "..4", "-1", "0..99999999", "1,,2"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_seeds(wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--seeds"),
        (["--seeds", "x"], "neither a seed"),
        (["--seeds", "1", "--scenario", "nonsense"], "invalid choice"),
        (["--seeds", "1", "--plant", "no.such:thing"], "no parts called"),
        (["--seeds", "1", "--schedule", "no/such/file"], "cannot read"),
        (["--seeds", "1..2", "--trace"], "one seed"),
        (["--seeds", "1", "--jobs", "0"], "not a number from 1 up"),
    ],
)
def test_wrong_options_are_told_and_end_with_2(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 2
    assert said in capsys.readouterr().err


def test_files_that_cannot_be_written_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong trace file before the run; a wrong directory for schedules after it, beside what was found."""
    missing = tmp_path / "none" / "trace.txt"
    assert main(["--seeds", "7", "--trace", "--trace-file", str(missing)]) == 2
    assert f"--trace-file {missing}: there is no directory" in capsys.readouterr().err
    (tmp_path / "file").write_text("", encoding="utf-8")
    options = ["--seeds", "7..7", "--once", "--scenario", "calm", "--plant", "tests.sim.forgetful:PARTS"]
    assert main([*options, "--shrink-runs", "1", "--save", str(tmp_path / "file" / "more")]) == 1
    said = capsys.readouterr().out
    assert "cannot be written: Not a directory: name another directory" in said and "FAILED" in said


def test_a_file_that_holds_no_schedule_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "schedule.json"
    for text in ("", "{}", "[]", '{"chaos_s": 1, "steps": [1]}'):
        file.write_text(text)
        assert main(["--seeds", "1", "--schedule", str(file)]) == 2
        assert "holds no schedule" in capsys.readouterr().err


def test_help_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--trace" in capsys.readouterr().out


def test_a_seed_that_passes_ends_with_0_and_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "8", "--once", "--scenario", "calm"]) == 0
    captured = capsys.readouterr()
    for word in ("seeds ", "operations", "faults", "rare paths", "never", "simulated"):
        assert word in captured.out, word
    assert "seed      8  calm       ok" in captured.err


# --- what is shown -------------------------------------------------------------------------------------------------------


def test_a_long_trace_keeps_events_and_the_details_before_the_violation() -> None:
    details = [f"{1000 + at / 100:12.6f}  n1 received 40 bytes from n2:30001 to port 2185" for at in range(5_000)]
    events = [f"{1000 + at:12.6f}  n1 fault crash " for at in range(50)]
    lines = sorted(details + events)
    chosen = list(report.chosen_lines(lines, 1020.0, 100))
    kept = [line for line in chosen if "…" not in line]
    assert len(kept) <= 100 and kept == [line for line in lines if line in kept]
    assert sum("fault" in line for line in kept) >= 45
    assert f"{1019.99:12.6f}  n1 received 40 bytes from n2:30001 to port 2185" in kept
    left_out = sum(int(line.split()[1].replace(",", "")) for line in chosen if "…" in line)
    assert left_out + len(kept) == len(lines)


def test_the_time_of_a_violation_is_read_from_its_message_or_its_index() -> None:
    task = Task(1, SCENARIOS["default"]).with_schedule(Schedule(60.0, ()))

    def time_of(message: str) -> float | None:
        failing = replace(passing(task), violations=[Violation("rule", message)])
        return report.violation_time(Recorded(failing, [(41, 1003.5), (42, 1004.25)]))

    assert time_of("n3 at 1007.283 s: gone") == 1007.283
    assert time_of("index 42 applied twice") == 1004.25
    assert time_of("took 0.5 s") is None


def test_the_explorer_never_runs_more_processes_than_jobs() -> None:
    class Counting(Processes):
        now = most = 0

        def run(self, calls: object) -> list[object]:
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)
            results = [passing(task.with_schedule(Schedule(60.0, ()))) for _, (task,) in calls]  # type: ignore[attr-defined]
            Counting.now -= 1
            return results

    findings = list(Explorer(Counting(), 2).findings([Task(seed) for seed in range(20)]))
    assert sorted(finding.task.seed for finding in findings) == list(range(20))
    assert all(finding.passed for finding in findings) and 1 <= Counting.most <= 2 and CORES >= 1
