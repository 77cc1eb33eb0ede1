"""`python -m tests.sim.planted [NAME…] [--seeds 200] [--jobs N]`: hunt the planted bugs; exit code 1 if one is not found."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[3] / "src")]

from loggos.sim.bootstrap import ensure_hash_seed  # noqa: E402
from tests.sim.planted import ALL, BUGS  # noqa: E402
from tests.sim.planted.hunt import Catch, base_seed, hunt  # noqa: E402


def hunt_by_name(name: str, first: int, seeds: int) -> Catch:
    return hunt(ALL[name], first, seeds, partial(print, file=sys.stderr, flush=True))


def hunt_apart(name: str, first: int, seeds: int) -> tuple[Any, ...]:
    """In a process of its own: a bug does not travel between processes, the rest of a catch does."""
    return hunt_by_name(name, first, seeds)[1:]


def tell(catch: Catch) -> None:
    bug = catch.bug
    if catch.seed is None:
        line = f"{bug.name:28} rule {bug.rule:2}  NOT FOUND in {catch.tried} seeds from {catch.first}"
    else:
        line = f"{bug.name:28} rule {bug.rule:2}  {catch.tried:3} seeds  {catch.scenario:9}  {', '.join(catch.rules)}\n"
        line += f"    {catch.message[:200]}\n    {catch.replay}"
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.planted", description="Hunt the planted bugs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which bugs; all of them if none is named")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds a bug has to be found in")
    parser.add_argument("--first", type=int, default=None, help="the first seed; by default it follows from the commit")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in ALL]
    if unknown:
        parser.error(f"no such bug: {', '.join(unknown)}; there are {', '.join(ALL)}")
    first = base_seed() if options.first is None else options.first
    names = options.names or list(BUGS)
    found = 0
    catches: Iterator[Catch]
    if options.jobs == 1:
        catches = map(hunt_by_name, names, repeat(first), repeat(options.seeds))
    else:
        apart = ProcessPoolExecutor(options.jobs).map(hunt_apart, names, repeat(first), repeat(options.seeds))
        catches = (Catch(ALL[name], *rest) for name, rest in zip(names, apart, strict=True))
    for catch in catches:
        tell(catch)
        found += catch.seed is not None
    print(f"{found} of {len(names)} found, within {options.seeds} seeds from {first} on")
    return 0 if found == len(names) else 1


if __name__ == "__main__":
    ensure_hash_seed()
    sys.exit(main())
