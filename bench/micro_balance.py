"""Decisions per second of every load balancing policy: pick, started, finished, and its probes answered at once, in this process.

    PYTHONPATH=src python bench/micro_balance.py [--seconds 0.3] [--rounds 5]

Prints thousands of decisions per second of CPU time (the best of several rounds: noise only adds) among 10, 100 and 1,000 end
points, with as many requests on their way as there are end points; then what `update` takes when one end point joins 999. Rows
marked "weights" have end points of weights 1 to 5. The last row is a whole balancer: p2c under outlier ejection, breakers, a
retry budget, hedging and a concurrency limit.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable
from random import Random

from loggos.balance.balancer import Balancer
from loggos.balance.filters.breakers import Breakers
from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.guards.budget import RetryBudget
from loggos.balance.guards.concurrency import GradientLimit
from loggos.balance.guards.hedging import Hedging
from loggos.balance.policies import POLICIES, make
from loggos.balance.types import Endpoint, Policy, Report

COUNTS = (10, 100, 1_000)
BATCH = 200  # decisions between two looks at the clock
GAP_S = 1e-4  # between two requests, in the time that policies are told
VARIANTS: dict[str, tuple[str, dict[str, object], bool]] = {
    **{name: (name, {}, False) for name in POLICIES},
    "p2c, reported": ("p2c", {"load": "reported"}, False),
    "p2c, weights": ("p2c", {}, True),
    "least_request, weights": ("least_request", {}, True),
    "maglev, c=1.25": ("maglev", {"c": 1.25}, False),
    "rendezvous, weights": ("rendezvous", {}, True),
}


def endpoints(count: int, weighted: bool) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(f"10.0.{number // 250}.{number % 250}:80", 1.0 + number % 5 if weighted else 1.0) for number in range(count)
    )


class Drive:
    """One policy with a steady number of requests on their way."""

    def __init__(self, policy: Policy, among: tuple[Endpoint, ...]) -> None:
        self.policy, self.among = policy, among
        self.keys = [b"/users/%d" % number for number in range(997)]
        self.reports = [Report(number % 7, 0.001 * (1 + number % 11)) for number in range(77)]
        self.out: deque[tuple[str, float]] = deque()
        self.turn = 0
        policy.update(among, 0.0)
        for _ in range(len(among)):
            self.send()

    def send(self) -> None:
        policy, now_s = self.policy, self.turn * GAP_S
        self.turn = turn = self.turn + 1
        chosen = policy.pick(now_s, self.among, self.keys[turn % 997])
        assert chosen is not None
        policy.started(chosen.name, now_s)
        self.out.append((chosen.name, now_s))
        for name in policy.probes_wanted(now_s):
            policy.probed(name, now_s, self.reports[turn % 77])

    def decide(self, times: int) -> None:
        finished, reports, out = self.policy.finished, self.reports, self.out
        for _ in range(times):
            self.send()
            name, sent_s = out.popleft()
            now_s = self.turn * GAP_S
            finished(name, now_s, now_s - sent_s, True, reports[self.turn % 77])


class DriveBalancer:
    """A balancer with everything on, and the same steady number of requests on their way."""

    def __init__(self, balancer: Balancer, among: tuple[Endpoint, ...]) -> None:
        self.balancer = balancer
        self.out: deque[tuple[str, float]] = deque()
        self.turn = 0
        balancer.update(among, 0.0)
        for _ in range(len(among)):
            self.send()

    def send(self) -> None:
        balancer, now_s = self.balancer, self.turn * GAP_S
        self.turn += 1
        balancer.may_send(now_s)
        chosen = balancer.choose(now_s)
        assert chosen is not None
        balancer.started(chosen.name, now_s)
        balancer.probes_wanted(now_s)
        self.out.append((chosen.name, now_s))

    def decide(self, times: int) -> None:
        for _ in range(times):
            self.send()
            name, sent_s = self.out.popleft()
            now_s = self.turn * GAP_S
            self.balancer.finished(name, now_s, now_s - sent_s, True)


def per_second(decide: Callable[[int], None], seconds: float, rounds: int) -> float:
    """The best of `rounds`, each of `seconds`; decisions per second of CPU time."""
    best = 0.0
    for _ in range(rounds):
        done, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds:
            decide(BATCH)
            done += BATCH
        best = max(best, done / spent)
    return best


def whole_balancer() -> Balancer:
    return Balancer(
        make("p2c", Random(1)),
        Random(2),
        outliers=OutlierEjection(),
        breakers=Breakers(),
        retries=RetryBudget(),
        hedging=Hedging(),
        limit=GradientLimit(most=100_000),
    )


def update_ms(name: str, options: dict[str, object]) -> float:
    """Milliseconds of `update` when the last of 1,000 end points joins, with the first choice after it."""
    everyone = endpoints(1_000, False)
    policy = make(name, Random(1), **options)
    policy.update(everyone[:-1], 0.0)
    began = time.process_time()
    policy.update(everyone, 1.0)
    policy.pick(1.0, everyone, b"key")
    return (time.process_time() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description="Decisions per second of every load balancing policy.")
    parser.add_argument("--seconds", type=float, default=0.3, help="CPU seconds of one round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'thousand decisions/s among':<30}" + "".join(f"{count:>9,}" for count in COUNTS) + f"{'update, ms':>13}")
    for label, (name, options, weighted) in VARIANTS.items():
        rates = []
        for count in COUNTS:
            drive = Drive(make(name, Random(1), **options), endpoints(count, weighted))
            rates.append(per_second(drive.decide, arguments.seconds, arguments.rounds) / 1e3)
        print(f"{label:<30}" + "".join(f"{rate:>9,.0f}" for rate in rates) + f"{update_ms(name, options):>13.2f}", flush=True)
    rates = []
    for count in COUNTS:
        whole = DriveBalancer(whole_balancer(), endpoints(count, False))
        rates.append(per_second(whole.decide, arguments.seconds, arguments.rounds) / 1e3)
    print(f"{'balancer, all on (p2c)':<30}" + "".join(f"{rate:>9,.0f}" for rate in rates))


if __name__ == "__main__":
    main()
