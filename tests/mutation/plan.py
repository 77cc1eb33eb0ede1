"""What is mutated, how many mutants each file gives, and which tests judge them, quickest killers first.

A mutant of a package is judged by that package's own tests (without those that test the checkers by planted bugs, and those
marked `full`), then, if it survives, by short simulations of whole clusters. Pure, but for reading the sources.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.mutation.mutator import Mutation, is_change, mutations

PACKAGES = ("storage", "consensus")
SAMPLE = 220

FIRST: dict[str, list[str]] = {  # quick, and killers of many; then come all other test files of the package, then LAST
    "consensus": ["test_engine.py", "test_golden.py", "test_survivors.py", "test_scenarios.py"],
    "storage": ["test_records.py", "test_survivors.py", "test_journal.py"],
}
LAST: dict[str, list[str]] = {
    "consensus": [
        "test_chaos.py::test_three_voters[0]",
        "test_chaos.py::test_five_voters_and_a_learner",
        "test_chaos.py::test_a_very_lossy_network",
        "explore/test_explore.py::test_a_proposer_that_returns_is_safe_in_every_interleaving",
    ],
    "storage": ["test_recovery.py"],
}
LEFT_OUT = ("test_planted.py",)  # test the checkers, not the code
SIMULATIONS: dict[str, list[tuple[int, str, float]]] = {  # seed, scenario, seconds of chaos
    "consensus": [(2, "elections", 10.0)],
    "storage": [(4, "disks", 15.0)],
}


def sources(root: Path, packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Every file of the packages, by its path in src/loggos."""
    base = root / "src" / "loggos"
    found = [path for package in packages for path in sorted((base / package).rglob("*.py"))]
    return {path.relative_to(base).as_posix(): path.read_text(encoding="utf-8") for path in found}


def shares(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` split by weight, by largest remainder, none above its weight; ties go by name."""
    whole = sum(weights.values())
    total = min(total, whole)
    exact = {name: total * weight / whole for name, weight in weights.items()} if whole else {}
    given = {name: int(part) for name, part in exact.items()}
    order = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    for name in order[: total - sum(given.values())]:
        given[name] += 1
    return given


def sample(files: Mapping[str, str], total: int, seed: int) -> list[Mutation]:
    """Mutations to try, at most one a line, spread over the files by their lines that can be mutated. One seed is one sample."""
    lines: dict[str, dict[int, list[Mutation]]] = {}
    for file, source in files.items():
        for mutation in mutations(file, source):
            lines.setdefault(file, {}).setdefault(mutation.line, []).append(mutation)
    picked: list[Mutation] = []
    for file, count in shares({file: len(found) for file, found in lines.items()}, total).items():
        draw = random.Random(f"{seed}:{file}")
        order = sorted(lines[file])
        draw.shuffle(order)
        taken: list[Mutation] = []
        for line in order:
            if len(taken) == count:
                break
            real = [mutation for mutation in _shuffled(draw, lines[file][line]) if is_change(files[file], mutation)]
            taken += real[:1]
        picked += sorted(taken)
    return picked


def _shuffled(draw: random.Random, found: list[Mutation]) -> list[Mutation]:
    found = list(found)
    draw.shuffle(found)
    return found


def module_of(file: str) -> str:
    """consensus/log.py -> loggos.consensus.log"""
    return "loggos." + file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


def tests(package: str, root: Path) -> list[str]:
    """The tests that judge mutants of a package, in order."""
    folder = root / "tests" / package
    present = [path.name for path in sorted(folder.glob("test_*.py"))]
    first = [name for name in FIRST[package] if name in present]
    last = [name for name in LAST[package] if (folder / name.split("::")[0]).exists()]
    known = {*first, *[name.split("::")[0] for name in last], *LEFT_OUT}
    middle = [name for name in present if name not in known]
    return [f"tests/{package}/{name}" for name in (*first, *middle, *last)]


def stages(file: str, root: Path) -> list[dict[str, Any]]:
    """The judges of a mutant of this file, in order. A test file of the same name comes first."""
    package = file.split("/")[0]
    own = f"tests/{package}/test_{Path(file).stem}.py"
    ordered = sorted(tests(package, root), key=lambda test: test != own)
    return [{"pytest": [*ordered, "-m", "not full"]}, *[{"sim": list(simulation)} for simulation in SIMULATIONS[package]]]
