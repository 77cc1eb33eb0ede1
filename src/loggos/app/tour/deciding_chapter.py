"""The deciding chapter as a person sees it: the advice, the plan, the policies while they run, and what was proven."""

from __future__ import annotations

import asyncio
import signal

from loggos.app.tour import deciding, deciding_report
from loggos.app.tour.deciding import Decisions
from loggos.app.tour.proofs import Proof
from loggos.app.tour.screen import Screen
from loggos.app.tour.unequal import Load, Side, side_by_side
from loggos.host.loop import new_loop


def run(screen: Screen, load: Load) -> tuple[Decisions, list[Proof]]:
    """Decide everything, show it, and check it."""
    advice = deciding.sample_advice()
    screen.line(f"  an application: {advice.needs.name}, {', '.join(advice.needs.uses)}", "dim")
    screen.event(f"advice: {advice.summary}")
    plan = deciding.sample_plan()
    chosen = plan.chosen
    screen.event(f"plan: {chosen.nodes} {chosen.kind.name} nodes for {chosen.cost:,.0f} a month; {chosen.binding.binding.why}")
    node = deciding.simulated_node(plan)
    sizes = f"{load.servers} servers, {load.slow} of them at {load.slow_speed:g} of the others' speed"
    screen.event(f"load: {load.rate_per_s:,.0f} requests/s over {sizes}, for {load.seconds:.0f} s under each policy at once")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        sides = runner.run(patiently(load))
    told = Decisions(advice, plan, node, sides, deciding.against_theory())
    proofs = deciding.prove(told)
    show(screen, told, proofs)
    return told, proofs


async def patiently(load: Load) -> list[Side]:
    """The load. The first Ctrl-C ends it; a second one while it ends would only tear what is being closed."""
    task = asyncio.current_task()
    assert task is not None
    loop, is_ending = asyncio.get_running_loop(), False

    def end() -> None:
        nonlocal is_ending
        if not is_ending:
            is_ending = True
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, end)
    try:
        return await side_by_side(load)
    except asyncio.CancelledError:
        if is_ending:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def show(screen: Screen, told: Decisions, proofs: list[Proof]) -> None:
    """Tables, then one line per proof."""
    screen.line()
    screen.table(deciding_report.COLUMNS, deciding_report.side_rows(told.sides))
    screen.line()
    screen.table(("choices", "simulated", "theory", "off by"), deciding_report.theory_rows(told))
    screen.line()
    for proof in proofs:
        screen.verdict(proof.holds, proof.title, proof.evidence)
        if not proof.holds:
            screen.line(f"      look at {proof.look_at}")
