"""Whatever happens to a fleet, no plan breaks a rule: a second bookkeeper follows every plan decision by decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loggos.fleet.scheduler import events, scores
from loggos.fleet.scheduler.plan import Evicted
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import Placement, Queue, TaskId
from tests.fleet.worlds import Ledger, jobs, nodes

QUEUES = (
    Queue("top", limit={"cpu": 12}),
    Queue("left", 2, guaranteed={"cpu": 3}, parent="top"),
    Queue("right", limit={"gpu_milli": 1_500}, parent="top"),
    Queue("default"),
)


def drive(data: st.DataObject, scheduler: Scheduler, ledger: Ledger, rounds: int) -> list[object]:
    """Random events and rounds; every plan is followed by the ledger. Gives the plans, and the events as they were."""
    story: list[object] = []
    for now in range(rounds):
        batch: list[events.Event] = []
        for turn in range(8 if now == 0 else data.draw(st.integers(0, 4))):
            event = an_event(data, ledger, "node" if now == 0 and turn < 4 else None)
            if event is not None:
                ledger.happen(event)
                batch.append(event)
        plan = scheduler.step(batch, float(now))
        story += [batch, plan]
        ledger.follow(plan)
        if data.draw(st.booleans()):
            moves = scheduler.rebalance(float(now), 3)
            story.append(moves)
            ledger.follow(moves)
        assert placements(scheduler) == ledger.running
        waiting = {name: state.pending for name, state in scheduler.fleet.waiting.items()}
        assert {pending.job: pending.tasks for pending in plan.pending} == {name: len(tasks) for name, tasks in waiting.items()}
    return story


def an_event(data: st.DataObject, ledger: Ledger, kind: str | None = None) -> events.Event | None:
    """One that can happen."""
    kind = kind or data.draw(st.sampled_from(("node", "job", "job", "job", "job", "job", "end", "leave", "close", "withdraw")))
    if kind == "node":
        new = data.draw(nodes)
        return None if new.name in ledger.nodes else events.NodeJoined(new)
    if kind == "job":
        wanted = data.draw(jobs(("left", "right", "default")))
        over = [task for task in ledger.ended if task.job == wanted.name]
        return None if wanted.name in ledger.jobs or over else events.JobSubmitted(wanted)
    if kind == "end" and ledger.running:
        return events.TaskEnded(data.draw(st.sampled_from(sorted(ledger.running))))
    if kind == "withdraw" and ledger.jobs:
        name = data.draw(st.sampled_from(sorted(ledger.jobs)))
        if any(task.job == name for task in ledger.ended):
            return None
        return events.JobWithdrawn(name)
    if kind == "leave" and ledger.nodes:
        return events.NodeLeft(data.draw(st.sampled_from(sorted(ledger.nodes))))
    if kind == "close" and ledger.nodes:
        return events.NodeOpened(data.draw(st.sampled_from(sorted(ledger.nodes))), data.draw(st.booleans()))
    return None


def placements(scheduler: Scheduler) -> dict[TaskId, Placement]:
    return {
        TaskId(name, number): Placement(running.bin.node.name, running.devices)
        for name, state in scheduler.fleet.jobs.items()
        for number, running in state.running.items()
    }


@given(st.data(), st.sampled_from(scores.NAMES))
def test_no_plan_breaks_a_rule(data: st.DataObject, score: str) -> None:
    """Capacity in every prefix, gangs, constraints, topology, limits, and who may evict whom."""
    drive(data, Scheduler(Policy(score), QUEUES), Ledger(QUEUES), 8)


@given(st.data(), st.sampled_from(scores.NAMES))
def test_the_same_events_give_the_same_plans(data: st.DataObject, score: str) -> None:
    first = Scheduler(Policy(score), QUEUES)
    again = Scheduler(Policy(score), QUEUES)
    ledger = Ledger(QUEUES)
    for now in range(6):
        batch = []
        for _ in range(4):
            event = an_event(data, ledger, "node" if now == 0 else None)
            if event is not None:
                ledger.happen(event)
                batch.append(event)
        plan = first.step(batch, float(now))
        assert again.step(batch, float(now)) == plan
        ledger.follow(plan)
        moves = first.rebalance(float(now))
        assert again.rebalance(float(now)) == moves
        ledger.follow(moves)


@given(st.data())
def test_evictions_keep_to_the_budgets(data: st.DataObject) -> None:
    """Of no job are more tasks down than it allows, and no round evicts more than the policy does."""
    scheduler, ledger = Scheduler(Policy(evictions_max=2), QUEUES), Ledger(QUEUES)
    for plan in drive(data, scheduler, ledger, 8):
        evicted = [d for d in getattr(plan, "decisions", ()) if isinstance(d, Evicted)]
        assert len(evicted) <= 2
        for decision in evicted:
            allowed = ledger.jobs[decision.task.job].disruptions if decision.task.job in ledger.jobs else None
            gang = decision.task.job in ledger.jobs and ledger.jobs[decision.task.job].gang
            mine = sum(other.task.job == decision.task.job for other in evicted)
            assert allowed is None or (gang and allowed) or mine <= allowed
