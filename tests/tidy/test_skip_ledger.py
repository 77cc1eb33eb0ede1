"""The ledger of skips: what is expected passes, what is not fails the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.skip_ledger import CONDITIONS, Row, Skip, parse, unexpected

ROOT = Path(__file__).parents[2]
ON_THIS_MACHINE = {"always": lambda: True, "never": lambda: False}
ROWS = [Row("tests/a/*", "no java", "always"), Row("tests/b/*", "no java", "never")]


@pytest.mark.parametrize(
    ("skip", "is_expected"),
    [
        (Skip("tests/a/test_x.py::test_y", "there is no java here"), True),
        (Skip("tests/a/test_x.py::test_y", "did not feel like it"), False),
        (Skip("tests/b/test_x.py::test_y", "there is no java here"), False),
        (Skip("tests/c/test_x.py::test_y", "there is no java here"), False),
    ],
)
def test_a_skip_needs_a_row_whose_condition_holds(skip: Skip, is_expected: bool) -> None:
    assert unexpected([skip], ROWS, ON_THIS_MACHINE) == ([] if is_expected else [skip])


def test_rows_are_parsed() -> None:
    assert parse("# why\n\n tests/a/* | no java |always \n", ON_THIS_MACHINE) == [Row("tests/a/*", "no java", "always")]


@pytest.mark.parametrize("line", ["tests/a/*", "tests/a/* | reason", "tests/a/* | | always", "tests/a/* | reason | sometimes"])
def test_what_is_no_row_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse(line, ON_THIS_MACHINE)


def test_the_ledger_itself_is_in_order() -> None:
    rows = parse((ROOT / "tests/skips.txt").read_text(encoding="utf-8"))
    assert all(isinstance(CONDITIONS[row.when](), bool) for row in rows)


@pytest.mark.process
@pytest.mark.parametrize(
    "how", ["@pytest.mark.skip(reason='on a whim')\ndef test(): pass", "pytest.importorskip('no_such_module_')"]
)
def test_an_unexpected_skip_fails_a_run(tmp_path: Path, how: str) -> None:
    file = tmp_path / "test_skips.py"
    file.write_text(f"import pytest\n{how}\ndef test_other(): pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "/dev/null", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "0 expected, 1 unexpected" in done.stdout and "UNEXPECTED skip" in done.stdout


@pytest.mark.process
def test_a_run_without_skips_passes(tmp_path: Path) -> None:
    file = tmp_path / "test_passes.py"
    file.write_text("def test(): pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "/dev/null", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
