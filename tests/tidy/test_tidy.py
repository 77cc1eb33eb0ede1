"""The tidy rules, applied to the code base. Every finding is one line, "path:line: what"; all findings are shown at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.tidy import allowed, rules
from tests.tidy.rules import Source

ROOT = Path(__file__).parents[2]
CODE = ("src", "tests", "bench")  # and dev.py
TEXT_SUFFIXES = {".py", ".md", ".txt", ".toml", ".cfg", ".yml", ".yaml", ".json", ".sh", ""}
TEXT_FOLDERS = ("src", "tests", "bench", "docs", ".ci", "examples")
INSTALL_FILES = ("pyproject.toml", "constraints.txt", "dev.py", "Makefile", ".ci/run")


@cache
def python_files() -> dict[str, Source]:
    """Every Python file of ours, by path from the root."""
    paths = [ROOT / "dev.py", *(path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py")))]
    named = {path.relative_to(ROOT).as_posix(): path for path in paths if not any(p.startswith(".") for p in path.parts[-3:])}
    return {name: rules.source(name, path.read_text(encoding="utf-8")) for name, path in named.items()}


def under(*folders: str) -> list[Source]:
    return [file for path, file in python_files().items() if path.startswith(folders)]


def text_files() -> Iterator[tuple[str, str]]:
    """Every text file of ours: the code, the documents, the configuration."""
    paths = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith("tour-report")]
    paths += [path for folder in TEXT_FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in TEXT_SUFFIXES and "__pycache__" not in name and ".egg-info" not in name and name != ".git":
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a golden file of bytes


def report(findings: Iterable[str]) -> None:
    found = sorted(findings)
    if found:
        pytest.fail(f"{len(found)} finding(s):\n" + "\n".join(found), pytrace=False)


def needed(entries: Collection[str] | Collection[tuple[str, str]], without: Iterable[str], what: str) -> None:
    """Every allowance is still needed: with the table taken away, its place is found. `without`: findings without the table."""
    found = list(without)
    keys = [(entry, "") if isinstance(entry, str) else entry for entry in entries]
    stale = [key for key in keys if not any(f.startswith(f"{key[0]}:") and f": {key[1]}" in f for f in found)]
    report(f"tests/tidy/allowed.py: {what} allows what no longer happens; delete {path} {name}" for path, name in stale)


def test_there_is_code_to_look_at() -> None:
    paths = python_files()
    assert "dev.py" in paths and "src/loggos/base/limits.py" in paths and "tests/tidy/rules.py" in paths


def test_files_fit_a_sitting() -> None:
    report(f for file in python_files().values() for f in rules.long_files(file, allowed.LONG_FILES))
    needed(allowed.LONG_FILES, (f for file in python_files().values() for f in rules.long_files(file)), "LONG_FILES")


def test_functions_fit_a_screen() -> None:
    report(f for file in python_files().values() for f in rules.long_functions(file, allowed.LONG_FUNCTIONS))
    needed(allowed.LONG_FUNCTIONS, (f for file in python_files().values() for f in rules.long_functions(file)), "LONG_FUNCTIONS")


def longest_function() -> tuple[int, str]:
    return max(
        (rules.function_lines(node), f"{path}:{node.lineno} {name}")
        for path, file in python_files().items()
        for name, node in rules.functions(file.tree)
        if (path, name) not in allowed.LONG_FUNCTIONS
    )


def test_the_longest_function_does_not_grow() -> None:
    lines, where = longest_function()
    assert lines <= allowed.LONGEST_FUNCTION_LINES <= rules.FUNCTION_LINES_MAX, f"{where} has {lines} lines"


@pytest.mark.full
def test_the_ratchet_is_tight() -> None:
    lines, where = longest_function()
    assert lines == allowed.LONGEST_FUNCTION_LINES, f"the longest function is {where}: set LONGEST_FUNCTION_LINES to {lines}"


def test_modules_say_what_they_are() -> None:
    report(f for file in under("src/", "dev.py", "bench/") for f in rules.missing_docstring(file))


def test_every_folder_of_code_is_a_package() -> None:
    """Without __init__.py the layers are not checked: import-linter does not see the folder."""
    folders = {Path(path).parent for path in python_files() if path.startswith("src/loggos/")}
    report(f"{folder}: no __init__.py" for folder in folders if not (ROOT / folder / "__init__.py").exists())


def test_no_error_is_swallowed() -> None:
    files = under("src/", "dev.py", "bench/")
    report(f for file in files for f in rules.broad_excepts(file, allowed.BROAD_EXCEPTS))
    needed(allowed.BROAD_EXCEPTS, (f for file in files for f in rules.broad_excepts(file)), "BROAD_EXCEPTS")


def test_only_the_command_line_prints() -> None:
    report(f for file in under("src/") if not file.path.startswith(tuple(allowed.PRINTS)) for f in rules.prints(file))


def test_no_task_is_unsupervised() -> None:
    report(f for file in under("src/") for f in rules.bare_tasks(file, allowed.BARE_TASKS))
    needed(allowed.BARE_TASKS, (f for file in under("src/") for f in rules.bare_tasks(file)), "BARE_TASKS")


def test_nothing_is_hollow() -> None:
    report(f for file in python_files().values() for f in rules.hollow_functions(file))


def test_tests_do_not_monkeypatch() -> None:
    report(f for file in under("tests/", "src/", "bench/") for f in rules.monkeypatches(file))


def test_asserts_can_fail() -> None:
    report(f for file in python_files().values() for f in rules.constant_asserts(file))


def test_pure_modules_import_no_world() -> None:
    modules = {}
    for path, file in python_files().items():
        if path.startswith("src/"):
            name = path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            modules[name] = file
    assert any(rules.is_pure_by_rule(file.path) for file in modules.values())
    report(rules.impure(modules))


def test_no_download_address_in_what_installs() -> None:
    report(f for name in INSTALL_FILES for f in rules.addresses(name, (ROOT / name).read_text(encoding="utf-8")))


def test_no_path_of_a_machine() -> None:
    report(f for name, text in text_files() for f in rules.machine_paths(name, text))


def test_every_direct_dependency_has_its_reason_and_its_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = [re.split(r"[<>=!;\[ ]", requirement)[0].lower() for requirement in wanted]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    reasons = (ROOT / "docs/decisions/dependencies.md").read_text(encoding="utf-8").lower()
    report(f"constraints.txt: {name} is not pinned" for name in names if not any(p.startswith(f"{name}==") for p in pins))
    report(f"docs/decisions/dependencies.md: no reason for {name}" for name in names if f"| {name} |" not in reasons)
