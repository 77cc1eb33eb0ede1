"""Hunting a planted bug: seed after seed of the default rotation, until a rule that it is expected to break is violated.

The first seed follows from the commit, not from anybody's choice (rule 33). A run ends early where the nodes differ already.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from loggos.app.build import Parts
from loggos.app.simulation.scenario import Run, RunReport, scenario_for
from loggos.base.errors import DamageError, StorageError
from tests.sim.planted.bug import Bug

LOOK_EVERY_S = 0.5


class Hunt(Run):
    """A run that ends when it is decided."""

    async def _play(self) -> None:
        play = asyncio.ensure_future(super()._play())
        while not play.done():
            await asyncio.sleep(LOOK_EVERY_S)
            if self._is_decided():
                play.cancel()
                return
        play.result()

    def _is_decided(self) -> bool:
        stopped = any(not isinstance(failure.error, StorageError | DamageError) for failure in self.world.failures)
        return stopped or bool(self.recorder.differences) or bool(self.cluster.violations)


class Catch(NamedTuple):
    """How a hunt ended. `seed`: of the run that found it; None: none did."""

    bug: Bug
    first: int
    tried: int
    seed: int | None
    scenario: str
    rules: tuple[str, ...]
    message: str

    @property
    def replay(self) -> str:
        return f"python -m tests.sim.planted {self.bug.name} --first {self.seed} --seeds 1"


def base_seed() -> int:
    """The first seed of a hunt: from the commit, 0 outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return int(answer.stdout[:7] or "0", 16) if answer.returncode == 0 else 0


def run(seed: int, parts: Parts) -> RunReport:
    """One seed of the default rotation."""
    return Hunt(seed, scenario_for(seed), parts, None, False).execute()


def hunt(bug: Bug, first: int, seeds: int, tell: Callable[[str], None] = lambda line: None) -> Catch:
    """Run seeds from `first` on until the bug is found."""
    for seed in range(first, first + seeds):
        report = run(seed, bug.make())
        found = [violation for violation in report.violations if violation.rule in bug.expected]
        rules = tuple(dict.fromkeys(violation.rule for violation in report.violations if violation.rule != "real-work"))
        if found:
            return Catch(bug, first, seed - first + 1, seed, report.scenario, rules, found[0].message)
        if rules:
            tell(f"{bug.name}: seed {seed} ({report.scenario}) broke {rules} only")
    return Catch(bug, first, seeds, None, "", (), "")
