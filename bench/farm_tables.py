"""What balancing policies do to latency, beside published theory and an independent sketch; and how fast the kernel is.

    PYTHONPATH=src python bench/farm_tables.py [--seeds 5] [--requests 80000] [--only a|b|d|supermarket|kernel]

Prints Markdown: the supermarket model against its theory, then 100 equal servers (A), 20 unequal ones behind 10 balancers (B) and
behind 1 to 30 (D). Latencies are in mean service times, ± is half of the 95 % interval over the seeds, "expected" is what an
independent sketch of the same scenario gave. Simulated figures depend on the seeds alone; those of the kernel on the machine.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from loggos.balance.farm.farm import Make, Streams, run
from loggos.balance.farm.result import Result, Summary, summary
from loggos.balance.farm.scenario import Scenario, equal_servers, unequal_servers
from loggos.balance.farm.supermarket import supermarket, theory
from loggos.balance.policies import make
from loggos.des.arrivals import feed, poisson
from loggos.des.kernel import Kernel
from loggos.des.laws import exponential
from loggos.des.station import FifoStation, SharingStation
from loggos.des.statistics import mean, over_runs

EXPECTED_A = {"random": "9.84", "p2c": "2.63", "least_request": "1.07"}
# policy, options, expected mean/p50/p99/p99.9 at load 0.70 and 0.90
EXPECTED_B: list[tuple[str, dict[str, object], str, str]] = [
    ("round_robin", {}, "340/1.9/3168/3338", "diverges"),
    ("smooth_weighted_round_robin", {}, "2.87/1.97/15.4/28.3", "6.84/4.66/38.8/71.1"),
    ("least_request", {}, "3.94/2.11/25.5/36.7", "5.32/3.56/28.9/40.1"),
    ("p2c", {}, "4.72/2.20/32.5/48.0", "8.16/4.34/51.8/64.8"),
    ("peak_ewma", {"tau_s": 100.0}, "3.08/2.20/14.6/25.2", "5.76/4.59/24.0/36.8"),
    ("p2c", {"load": "reported", "probe": True}, "2.33/1.48/13.8/22.0", "4.08/2.88/21.7/32.1"),
    ("p2c", {"load": "reported"}, "", ""),
    ("prequal", {}, "1.83/1.30/9.1/15.8", "3.28/2.65/13.5/21.8"),
    ("prequal", {"probes": 0.0, "use_reports": True}, "", ""),
]
EXPECTED_D = {1: "13.4/7.4", 3: "19.1/12.2", 10: "32.5/25.5", 30: "65.7/55.5"}


def streams(seed: object) -> Streams:
    return lambda purpose: random.Random(f"{seed} {purpose}")


def policy(name: str, **options: object) -> Make:
    return lambda dice: make(name, dice, **options)


def over_seeds(scenario: Scenario, of: Make, seeds: int) -> tuple[Summary, list[Result]]:
    results = [run(scenario, of, streams(seed)) for seed in range(1, seeds + 1)]
    return summary(results), results


def cells(found: Summary) -> str:
    return f"{found.mean} | {found.p50} | {found.p99} | {found.p999}"


def table_a(seeds: int, requests: int) -> Iterator[str]:
    yield "## A. 100 equal servers, one balancer, load 0.90\n"
    yield "| policy | mean | p50 | p99 | p99.9 | expected mean |"
    yield "|---|---|---|---|---|---|"
    scenario = Scenario(equal_servers(100), load=0.9, requests=4 * requests, warm_up=requests)
    for name, expected in EXPECTED_A.items():
        found, _ = over_seeds(scenario, policy(name), seeds)
        yield f"| {name} | {cells(found)} | {expected} |"


def table_b(seeds: int, requests: int) -> Iterator[str]:
    for column, load in ((2, 0.7), (3, 0.9)):
        yield f"\n## B. 20 servers, 15 of speed 1.0 and 5 of 0.4, 10 balancers, load {load:.2f}\n"
        yield "| policy | mean | p50 | p99 | p99.9 | busy fast/slow | expected mean/p50/p99/p99.9 |"
        yield "|---|---|---|---|---|---|---|"
        for row in EXPECTED_B:
            name, options = row[:2]
            told = " ".join(f"{option}={value}" for option, value in options.items())
            servers = unequal_servers(oracle_weights="weighted" in name)
            yield row_b(f"{name} {told}", Scenario(servers, 10, load), policy(name, **options), seeds, requests, str(row[column]))
        one = Scenario(unequal_servers(), 1, load)
        yield row_b("p2c, exact global counts", one, policy("p2c"), seeds, requests, "")
        yield row_b("least_request, exact global counts", one, policy("least_request"), seeds, requests, "JSQ: " + JSQ[load])


JSQ = {0.7: "1.29/.82/7.4/13.7", 0.9: "1.83/1.23/9.8/17.3"}


def row_b(title: str, scenario: Scenario, of: Make, seeds: int, requests: int, expected: str) -> str:
    sized = Scenario(scenario.servers, scenario.balancers, scenario.load, requests=requests, warm_up=requests // 10)
    found, results = over_seeds(sized, of, seeds)
    fast = mean([mean(result.utilisation[:15]) for result in results])
    slow = mean([mean(result.utilisation[15:]) for result in results])
    return f"| {title} | {cells(found)} | {fast:.2f}/{slow:.2f} | {expected} |"


def table_d(seeds: int, requests: int) -> Iterator[str]:
    yield "\n## D. The same servers behind more balancers, load 0.70: p99\n"
    yield "| balancers | p2c, local counts | least_request, local counts | prequal | expected p2c/least request |"
    yield "|---|---|---|---|---|"
    for balancers, expected in EXPECTED_D.items():
        scenario = Scenario(unequal_servers(), balancers, requests=requests, warm_up=requests // 10)
        found = [over_seeds(scenario, policy(name), seeds)[0].p99 for name in ("p2c", "least_request", "prequal")]
        yield f"| {balancers} | " + " | ".join(str(estimate) for estimate in found) + f" | {expected} |"


def table_supermarket(seeds: int, requests: int) -> Iterator[str]:
    yield "## Supermarket model: mean time, from the theory's fixed point\n"
    yield "| load | d | measured | theory | off by |"
    yield "|---|---|---|---|---|"
    for load in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        for d in (1, 2, 3):
            means = [supermarket_mean(load, d, seed, requests) for seed in range(seeds)]
            found, expected = over_runs(means), theory(load, d)
            yield f"| {load} | {d} | {found} | {expected:.4f} | {100.0 * (found.value / expected - 1.0):+.2f} % |"
    yield ""


def supermarket_mean(load: float, d: int, seed: int, requests: int) -> float:
    of = streams(f"{load} {d} {seed}")
    times = supermarket(
        make("p2c", of("policy"), d=d),
        servers=4_000 if d == 1 else 20_000,
        load=load,
        requests=2 * requests,
        arrivals=of("arrivals"),
        works=of("works"),
        equilibrium=d,
    )
    return mean(times)


def table_kernel(seeds: int, requests: int) -> Iterator[str]:
    yield "\n## Kernel: events a second of CPU time\n"
    yield "| what | events | events/s |"
    yield "|---|---|---|"
    yield measured_row("bare events that plan the next one", bare_events)
    yield measured_row("M/M/1, first come first served", partial(queue_events, FifoStation))
    yield measured_row("M/M/1, processor sharing", partial(queue_events, SharingStation))
    scenario = Scenario(unequal_servers(), 10, requests=requests, warm_up=requests // 10)
    for name in ("random", "p2c", "least_request", "prequal"):
        yield measured_row(f"farm B under {name}", partial(farm_events, scenario, name))


def measured_row(title: str, events_of: Callable[[], int]) -> str:
    started_s = time.process_time()
    events = events_of()
    passed_s = time.process_time() - started_s
    return f"| {title} | {events:,} | {events / passed_s:,.0f} |"


def bare_events(count: int = 1_000_000) -> int:
    kernel = Kernel()

    def again(left: int) -> None:
        if left:
            kernel.after(1.0, again, left - 1)

    for _ in range(10):
        kernel.at(0.0, again, count // 10 - 1)
    return kernel.run()


def farm_events(scenario: Scenario, name: str) -> int:
    return run(scenario, policy(name), streams(1)).events


def queue_events(kind: type[FifoStation] | type[SharingStation], jobs: int = 400_000) -> int:
    kernel = Kernel()
    station = kind(kernel, lambda _: None)
    draw = exponential(1.0).sampler(random.Random("works"))
    feed(kernel, islice(poisson(0.8, random.Random("arrivals")), jobs), lambda _: station.arrive(draw()))
    return kernel.run()


TABLES = {"supermarket": table_supermarket, "a": table_a, "b": table_b, "d": table_d, "kernel": table_kernel}


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency under the balancing policies, beside theory.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=80_000, help="per run")
    parser.add_argument("--only", choices=list(TABLES), help="one table")
    options = parser.parse_args()
    for name in [options.only] if options.only else TABLES:
        for line in TABLES[name](options.seeds, options.requests):
            print(line, flush=True)


if __name__ == "__main__":
    main()
