"""What deciding costs: the scheduler alone, in this process, on a made-up fleet of 1,000 nodes and 10,000 tasks.

    PYTHONPATH=src python bench/micro_scheduler.py [--nodes 1000] [--tasks 10000] [--score NAME] [--rounds 3]

The tasks come in 200 jobs of 40 shapes (CPU only, parts of a GPU, whole GPUs; some bound to a zone), of three priorities, in four
queues, all at once, and nearly fill the fleet. "placed/s" is one round that places them; "one by one" is a round per job of one
task on the fleet as it then is, with an end for every start: the life of a busy fleet. Both are decisions per second of CPU time,
the best of several rounds. Preemption, backfilling and explanations are on, as by default.
"""

from __future__ import annotations

import argparse
import gc
import random
import time

from loggos.fleet.scheduler import scores
from loggos.fleet.scheduler.events import Event, JobSubmitted, NodeJoined, TaskEnded
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import Constraint, Job, Match, Node, Queue, Request, TaskId

QUEUES = [Queue("a", 4), Queue("b", 2), Queue("c"), Queue("d")]
ZONES = ("x", "y", "z")
ONE_BY_ONE = 500


def nodes(count: int) -> list[Event]:
    """A third without GPUs, the others with eight."""
    found: list[Event] = []
    for number in range(count):
        cpu, memory, gpus = ((64_000, 262_144, 0), (96_000, 393_216, 8), (96_000, 393_216, 8))[number % 3]
        amounts = {"cpu_milli": cpu, "memory_mib": memory}
        found.append(NodeJoined(Node(f"n{number:04}", amounts, gpus, {"zone": ZONES[number % 7 % 3]})))
    return found


def shapes(dice: random.Random) -> list[tuple[Request, tuple[Constraint, ...]]]:
    """40 of them."""
    found: list[tuple[Request, tuple[Constraint, ...]]] = []
    for number in range(40):
        amounts = {"cpu_milli": 500 * dice.randrange(2, 18), "memory_mib": 1_024 * dice.randrange(2, 33)}
        kind = number % 4
        gpus, milli = ((0, 1_000), (1, dice.choice((200, 350, 500, 650))), (1, 1_000), (dice.choice((0, 0, 0, 2)), 1_000))[kind]
        zone = (Constraint("zone", Match.IS, (ZONES[number % 3],)),) if number % 5 == 0 else ()
        found.append((Request(amounts, gpus, milli), zone))
    return found


def jobs(tasks: int) -> list[Job]:
    dice = random.Random(1)
    kinds = shapes(dice)
    found = []
    for number in range(200):
        request, zone = kinds[number % len(kinds)]
        queue = QUEUES[dice.randrange(4)].name
        found.append(Job(f"j{number}", request, tasks // 200, queue, number % 3, constraints=zone))
    return found


def all_at_once(score: str, new: list[Event], wanted: list[Job]) -> tuple[Scheduler, int, float]:
    """The scheduler after one round, the tasks that it placed, and the seconds it took."""
    scheduler = Scheduler(Policy(score), QUEUES)
    scheduler.step(new, 0.0)
    gc.collect()
    began = time.process_time()
    plan = scheduler.step(map(JobSubmitted, wanted), 1.0)
    took = time.process_time() - began
    for bin_ in scheduler.fleet.present():
        assert min((*bin_.free.amounts, *bin_.free.devices)) >= 0
    return scheduler, len(plan.placed), took


def one_by_one(scheduler: Scheduler, wanted: list[Job]) -> float:
    """Seconds for ONE_BY_ONE rounds, each with a task that ends and a job of one task that comes."""
    dice = random.Random(2)
    took = 0.0
    for number in range(ONE_BY_ONE):
        states = scheduler.fleet.jobs
        name = dice.choice([name for name, state in states.items() if state.running])
        task = TaskId(name, next(iter(states[name].running)))
        like = wanted[dice.randrange(len(wanted))]
        one = Job(f"new{number}", like.request, 1, like.queue, like.priority, constraints=like.constraints)
        began = time.process_time()
        scheduler.step([TaskEnded(task), JobSubmitted(one)], 2.0 + number)
        took += time.process_time() - began
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--score", action="append", choices=scores.NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    new, wanted = nodes(options.nodes), jobs(options.tasks)
    print(f"{options.nodes:,} nodes, {options.tasks:,} tasks")
    print(f"{'score':<14}{'placed':>8}{'round s':>9}{'placed/s':>10}{'one by one/s':>14}")
    for score in options.score or scores.NAMES:
        runs = [all_at_once(score, new, wanted) for _ in range(options.rounds)]
        took = min(seconds for _, _, seconds in runs)
        steps = min(one_by_one(scheduler, wanted) for scheduler, _, _ in runs)
        placed = runs[0][1]
        print(f"{score:<14}{placed:>8}{took:>9.2f}{placed / took:>10,.0f}{ONE_BY_ONE / steps:>14,.0f}", flush=True)


if __name__ == "__main__":
    main()
