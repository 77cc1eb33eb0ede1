"""What the tests of the farm share: streams of chance, policies by name, runs over seeds."""

from __future__ import annotations

import random
from collections.abc import Callable

from loggos.balance.farm.farm import Make, Streams, run
from loggos.balance.farm.result import Result
from loggos.balance.farm.scenario import Scenario
from loggos.balance.policies import make
from loggos.balance.types import Dice, Policy


def streams(seed: object) -> Streams:
    return lambda purpose: random.Random(f"{seed} {purpose}")


def policy(name: str, **options: object) -> Callable[[Dice], Policy]:
    return lambda dice: make(name, dice, **options)


def runs(scenario: Scenario, of: Make, seeds: range) -> list[Result]:
    return [run(scenario, of, streams(seed)) for seed in seeds]
