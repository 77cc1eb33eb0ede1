"""The mutation run itself: what is mutated and what is not, how a sample is drawn, how a report counts, and that a mutant is
really what is judged."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation import argued, plan
from tests.mutation.mutator import Mutation, is_change, mutations
from tests.mutation.report import Result, killed_percent, killed_percent_of_real, markdown
from tests.mutation.run import ROOT, Bench

SAMPLE = '''
"""A module."""

from typing import Final

LIMIT: Final = 5


class Box:
    """A box."""

    __slots__ = ("size",)

    def __init__(self, size: int = 3) -> None:
        self.size = size

    def fits(self, other: "Box") -> bool:
        """Does it?"""
        assert other.size > 0, "sizes are positive"
        if other.size < self.size and not self.is_full():
            return True
        raise ValueError(f"{other.size + 1} does not fit")

    def ends(self) -> tuple[int, ...]:
        for end in sorted((1, 2)):
            if end == 2:
                break
            self.note(end)
        return tuple([min(LIMIT, self.size)])
'''


def changes(source: str = SAMPLE) -> list[tuple[str, str]]:
    return [mutation.lines(source) for mutation in mutations("a/b.py", source) if is_change(source, mutation)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT: Final = 5", "LIMIT: Final = 6"),
        ("LIMIT: Final = 5", "LIMIT: Final = 4"),
        ("def __init__(self, size: int = 3) -> None:", "def __init__(self, size: int = 2) -> None:"),
        ("self.size = size", "pass"),
        ("if other.size < self.size and not self.is_full():", "if other.size <= self.size and not self.is_full():"),
        ("if other.size < self.size and not self.is_full():", "if other.size >= self.size and not self.is_full():"),
        ("if other.size < self.size and not self.is_full():", "if (other.size < self.size or not self.is_full()):"),
        ("if other.size < self.size and not self.is_full():", "if (other.size < self.size):"),
        ("if other.size < self.size and not self.is_full():", "if other.size < self.size and (self.is_full()):"),
        ("if other.size < self.size and not self.is_full():", "if not (other.size < self.size and not self.is_full()):"),
        ("return True", "return False"),
        ('raise ValueError(f"{other.size + 1} does not fit")', "pass"),
        ("for end in sorted((1, 2)):", "for end in list((1, 2)):"),
        ("if end == 2:", "if end != 2:"),
        ("break", "continue"),
        ("self.note(end)", "pass"),
        ("return tuple([min(LIMIT, self.size)])", "return ()"),
        ("return tuple([min(LIMIT, self.size)])", "return tuple([max(LIMIT, self.size)])"),
        ("return tuple([min(LIMIT, self.size)])", "return tuple([(LIMIT)])"),
    ],
)
def test_what_is_mutated(before: str, after: str) -> None:
    assert (before, after) in changes()


def test_what_no_test_should_notice_is_left_alone() -> None:
    kept = ('"""', "import", "assert", "__slots__", "class Box")
    assert not [before for before, _ in changes() if before.startswith(kept)]
    assert not [after for _, after in changes() if "does not fit" in after or "sizes are positive" in after]


def test_every_mutation_is_one_change_of_the_code() -> None:
    for file, source in plan.sources(ROOT).items():
        for mutation in mutations(file, source)[::40]:
            mutated = mutation.apply(source)
            assert mutated != source and len(mutated) - len(source) == len(mutation.text) - len(mutation.before)
            if is_change(source, mutation):
                ast.parse(mutated)


def test_a_change_that_is_none_or_no_python_is_not_counted() -> None:
    source = "x = 1\n"
    same = Mutation("f", 1, "", "constant", 4, 5, "1", "1")
    assert not is_change(source, same)
    assert not is_change(source, same._replace(text="("))
    assert is_change(source, same._replace(text="2"))


def test_shares_are_proportional_and_whole() -> None:
    assert plan.shares({"a": 100, "b": 50, "c": 1}, 10) == {"a": 7, "b": 3, "c": 0}
    assert plan.shares({"a": 2, "b": 1}, 99) == {"a": 2, "b": 1}
    assert sum(plan.shares({"a": 7, "b": 7, "c": 7}, 10).values()) == 10


def test_a_seed_is_a_sample_and_no_line_is_mutated_twice() -> None:
    files = plan.sources(ROOT, ("storage",))
    one, again, other = (plan.sample(files, 30, seed) for seed in (1, 1, 2))
    assert one == again != other and len(one) == 30
    assert len({(mutation.file, mutation.line) for mutation in one}) == 30
    assert plan.sample(files, 0, 1) == []


def test_an_argued_survivor_counts_in_the_first_figure_only() -> None:
    known = argued.Argued("consensus/log.py", "f", "x = 1", "x = 2", "nobody reads x")
    killed = Result("a.py", 1, "f", "constant", "1", "2", True, "tests/x.py::t", "failed")
    open_, excused = killed._replace(killed=False), Result(known.file, 7, known.function, "?", known.before, known.after, False)
    results = [killed, killed, open_, excused]
    reason = {result: known.reason if result == excused else "" for result in results}
    assert killed_percent(results) == 50.0 and round(killed_percent_of_real(results, reason.__getitem__), 1) == 66.7
    page = markdown(results, "the command", "the commit", reason.__getitem__)
    assert "**open**" in page and known.reason in page and "50.0 %" in page and "66.7 %" in page


@pytest.mark.full
def test_arguments_speak_of_code_that_exists() -> None:
    """An entry whose line is gone argues for nothing: delete it."""
    files = plan.sources(ROOT)
    found = {(m.file, m.function, *m.lines(files[m.file])) for file, source in files.items() for m in mutations(file, source)}
    assert [entry[:4] for entry in argued.ARGUED if entry[:4] not in found] == []


@pytest.mark.parametrize("package", plan.PACKAGES)
def test_the_tests_that_judge_are_there(package: str) -> None:
    """A test that was renamed would spoil a run after minutes."""
    named = plan.tests(package, ROOT)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_mutant_is_what_is_judged(tmp_path: Path) -> None:
    """One mutant that a test kills, one that changes nothing, in the private copy; and what was not imported is noticed."""
    bench = Bench(tmp_path)
    bench.copy()
    bench.start()
    limits = {"cpu_s": 60.0, "wall_s": 300.0}
    try:
        stage = [{"pytest": ["tests/storage/test_records.py"]}]
        path = tmp_path / "src/loggos/storage/records.py"
        source = path.read_text(encoding="utf-8")
        job = {"module": "loggos.storage.records", "sentinel": "here", "stages": stage, **limits}
        path.write_text(source + "\nMUTANT = 'here'\n", encoding="utf-8")
        assert bench.judge(job)["killed"] is False
        path.write_text(source.replace("return -(-offset", "return -(offset") + "\nMUTANT = 'here'\n", encoding="utf-8")
        verdict = bench.judge(job)
        assert verdict["killed"] and verdict["by"].startswith("tests/storage/test_records.py::")
        path.write_text(source, encoding="utf-8")
        with pytest.raises(Exception, match="not imported from the mutated copy"):
            bench.judge(job)
        path.write_text(source + "\nwhile True:\n    pass\n", encoding="utf-8")
        verdict = bench.judge({**job, "cpu_s": 3.0})
        assert verdict["killed"] and verdict["how"] == "timeout"
    finally:
        bench.stop()
