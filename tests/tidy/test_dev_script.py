"""dev.py: the ways of making .venv, its stamp, its errors. Commands are recorded, not run, except where a test says so."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dev = load()


class Machine(dev.Venv):  # type: ignore[misc, name-defined]
    """A machine that is told which commands work. What works leaves a .venv behind, as the real command would."""

    def __init__(self, root: Path, works: Callable[[str], bool]) -> None:
        for name in ("pyproject.toml", "constraints.txt"):
            (root / name).write_text(name, encoding="utf-8")
        super().__init__(str(root), "/usr/bin/python3")
        self.works = works
        self.commands: list[str] = []

    def run(self, command: list[str], **environment: str) -> bool:
        line = " ".join(command).replace(self.path, ".venv")
        self.commands.append(line)
        self.log = "site-packages" if self.works(line) else "noise\nERROR: it broke\nmore noise"
        if self.works(line) and ("venv .venv" in line or "--quiet .venv" in line or "--without-pip" in line):
            Path(self.bin).mkdir(parents=True, exist_ok=True)
            Path(self.python).touch()
        return self.works(line)


def test_the_usual_way(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda line: True)
    machine.ensure()
    assert machine.commands[0] == "/usr/bin/python3 -m venv .venv"
    assert machine.is_current()


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    Machine(tmp_path, lambda line: True).ensure()
    again = Machine(tmp_path, lambda line: True)
    again.ensure()
    assert again.commands == []


def test_a_moved_checkout_gets_a_new_environment(tmp_path: Path) -> None:
    """The scripts of the old one name the Python of the old place."""
    (tmp_path / "old").mkdir()
    Machine(tmp_path / "old", lambda line: True).ensure()
    moved = Machine((tmp_path / "old").rename(tmp_path / "new"), lambda line: True)
    moved.ensure()
    assert "/usr/bin/python3 -m venv .venv" in moved.commands


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again_into_the_same_environment(tmp_path: Path, name: str) -> None:
    machine = Machine(tmp_path, lambda line: True)
    machine.ensure()
    machine.commands.clear()
    (tmp_path / name).write_text("changed", encoding="utf-8")
    machine.ensure()
    assert not any("-m venv" in line for line in machine.commands)
    assert sum(" install " in line for line in machine.commands) == 2


def without(*parts: str) -> Callable[[str], bool]:
    return lambda line: not any(part in line for part in parts)


def test_without_ensurepip_the_systems_pip_fills_a_bare_environment(tmp_path: Path) -> None:
    machine = Machine(tmp_path, without("-m venv .venv", "virtualenv"))
    machine.ensure()
    assert any("-m venv --without-pip .venv" in line for line in machine.commands)
    assert any("--target site-packages pip" in line for line in machine.commands)


def test_without_the_venv_module_virtualenv_is_fetched(tmp_path: Path) -> None:
    fetched: list[str] = []

    def works(line: str) -> bool:
        if line.endswith("virtualenv") and "--target" in line:
            fetched.append(line)
            return True
        return "-m venv" not in line and ("virtualenv" not in line or bool(fetched))

    machine = Machine(tmp_path, works)
    machine.ensure()
    assert fetched and machine.is_current()


def test_with_neither_ensurepip_nor_pip_one_line_says_how_to_mend_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda line: False)
    with pytest.raises(dev.DevError, match="python3-venv"):
        machine.ensure()
    assert not Path(machine.path).exists()
    assert "\n" not in dev.NO_PIP


def test_a_failed_install_shows_its_error_line_and_is_not_taken_for_done(tmp_path: Path) -> None:
    Machine(tmp_path, lambda line: True).ensure()
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text("changed", encoding="utf-8")
    machine = Machine(tmp_path, without("--editable"))
    pyproject.write_text("changed", encoding="utf-8")
    with pytest.raises(dev.DevError, match="ERROR: it broke"):
        machine.ensure()
    pyproject.write_text("pyproject.toml", encoding="utf-8")  # back to what was once installed
    assert not machine.is_current()
    assert "more noise" in (Path(machine.path) / "setup.log").read_text(encoding="utf-8")


def test_wheels_only_at_the_tested_versions(tmp_path: Path) -> None:
    machine = Machine(tmp_path, lambda line: True)
    machine.ensure()
    installs = [line for line in machine.commands if " install " in line]
    assert installs and all("--only-binary :all:" in line and "--constraint" in line for line in installs)


@pytest.mark.process
@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["nonsense"], 2)])
def test_usage(arguments: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "dev.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert all(name in done.stdout + done.stderr for name in dev.COMMANDS)


@pytest.mark.parametrize("together", [True, False])
def test_steps_go_on_after_a_failure_and_the_whole_fails(together: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bad = [sys.executable, "-c", "raise SystemExit(3)"]
    good = [sys.executable, "-c", f"open({str(mark)!r}, 'w')"]
    steps = [("bad", bad), ("good", good)]
    assert dev.run_steps(steps, together) == 1
    assert mark.exists()
    assert dev.run_steps(steps[1:], together) == 0


def test_every_step_of_a_full_run_is_there() -> None:
    names = [name for name, _ in dev.full_steps(dev.Venv())]
    assert names == ["ruff", "types", "layers", "tidy", "tour", "tests", "seeds", "mutation"]
