"""Why something waits, in words and numbers: every node against every test, counted.

A node counts under each test that it fails; `only` counts those that fail nothing else, which is where help is nearest.
Nothing is changed, and nothing here is needed for deciding.
"""

from __future__ import annotations

from loggos.base.limits import FLEET_REASONS_MAX
from loggos.fleet.scheduler.backfill import Promise
from loggos.fleet.scheduler.bins import Bin
from loggos.fleet.scheduler.fairness import Share
from loggos.fleet.scheduler.fleet import Fleet, JobState
from loggos.fleet.scheduler.plan import Failure, Why
from loggos.fleet.scheduler.topology import Topology
from loggos.fleet.scheduler.values import DEVICE_MILLI, GPU

AMOUNT = " short"  # ends the name of a test about an amount


def why_pending(fleet: Fleet, topology: Topology, state: JobState, promise: Promise | None = None) -> Why:
    """Why the job's next task starts nowhere now."""
    bins = list(fleet.present())
    if not bins:
        return Why("no node has joined", remedy="Let a node join.")
    failed: dict[str, int] = {}
    only: dict[str, int] = {}
    nearest: dict[str, tuple[int, str]] = {}
    fitting = 0
    for bin_ in bins:
        tests = node_fails(fleet, topology, state, bin_)
        fitting += not tests
        for test, short in tests.items():
            failed[test] = failed.get(test, 0) + 1
            only[test] = only.get(test, 0) + (len(tests) == 1)
            if test not in nearest or short < nearest[test][0]:
                nearest[test] = (short, bin_.node.name)
    failures = tuple(
        Failure(test, count, only[test], nearest[test][1], nearest[test][0] if test.endswith(AMOUNT) else None)
        for test, count in sorted(failed.items(), key=lambda item: (-item[1], item[0]))[:FLEET_REASONS_MAX]
    )
    wanted = state.wanted()
    what = f"{wanted} tasks at once" if wanted > 1 else "a task"
    if fitting and wanted > 1:
        summary, remedy = f"{fitting} of {len(bins)} nodes have room for one task, together not for {what}", _remedy(failures)
    elif fitting:
        held = f"promised to {promise.job}" if promise is not None else "held back in this round"
        summary, remedy = (
            f"{fitting} of {len(bins)} nodes have room for {what}, but it is {held}",
            "A shorter run time would let it in.",
        )
    else:
        summary, remedy = f"none of {len(bins)} nodes has room for {what}", _remedy(failures)
    return Why(summary, len(bins), failures, remedy)


def why_quota(state: JobState, share: Share) -> Why:
    """Why a queue's limit keeps the job's next tasks back."""
    wanted = state.wanted()
    over = [
        f"{share.used.get(name, 0) + wanted * amount} of {share.queue.limit[name]} {name}"
        for name, amount in state.shape.totals
        if share.used.get(name, 0) + wanted * amount > share.queue.limit.get(name, share.used.get(name, 0) + wanted * amount)
    ]
    return Why(
        f"queue {share.queue.name} would use {', '.join(over)}",
        remedy="It starts when tasks of the queue end, or when the limit is raised.",
    )


def node_fails(fleet: Fleet, topology: Topology, state: JobState, bin_: Bin) -> dict[str, int]:
    """The tests that a node fails for the job's next task → how much is short, 0 where the test is about no amount."""
    node, shape, free = bin_.node, state.shape, bin_.free
    tests: dict[str, int] = {}
    if not node.open:
        tests["open to new tasks"] = 0
    for taint in node.taints:
        if taint not in shape.tolerates:
            tests[f"taint {taint}"] = 0
    for constraint in shape.constraints:
        if not constraint.holds(node.labels):
            tests[str(constraint)] = 0
    for test in topology.broken(state, bin_):
        tests[test] = 0
    names = list(fleet.resources)
    for index, amount in shape.needs:
        if free.amounts[index] < amount:
            tests[names[index] + AMOUNT] = amount - free.amounts[index]
    if shape.shares_device:
        short = shape.gpu_milli - max(free.devices, default=0)
        if short > 0:
            tests[f"{GPU} of one device{AMOUNT}"] = short
    elif shape.gpus:
        short = shape.gpus - sum(device == DEVICE_MILLI for device in free.devices)
        if short > 0:
            tests[f"whole GPUs{AMOUNT}"] = short
    return tests


def _remedy(failures: tuple[Failure, ...]) -> str:
    """What would help soonest: the test that alone keeps most nodes out."""
    helpful = [failure for failure in failures if failure.only]
    if not helpful:
        return "Every node fails more than one test." if failures else ""
    best = max(helpful, key=lambda failure: failure.only)
    if best.least_short is not None:
        return f"It would fit on {best.only} nodes but for {best.test}: {best.least_short} more on {best.node} would help."
    return f"It would fit on {best.only} nodes but for this: {best.test}."
