"""A plan, a refusal or an advice as plain data for programs: dictionaries, lists, numbers, words. Pure.

Rules: what was inferred is {value, low, high}; what is not known or without bound is None, since JSON has neither.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from loggos.planner.advise.advice import Advice
from loggos.planner.plan.crosschecks import crosschecks
from loggos.planner.plan.make import Option, Plan, Refusal
from loggos.planner.plan.sensitivity import sensitivity
from loggos.planner.types import Estimate


def known(value: float) -> float | None:
    return value if isfinite(value) else None


def between(estimate: Estimate) -> dict[str, float | None]:
    return {"value": known(estimate.value), "low": known(estimate.low), "high": known(estimate.high)}


def of_plan(answer: Plan | Refusal) -> dict[str, Any]:
    """What `loggos plan make --json` prints."""
    if isinstance(answer, Refusal):
        return {"name": answer.intent.name, "plan": None, "why": list(answer.why), "nearly": list(answer.nearly)}
    return {
        "name": answer.intent.name,
        "plan": of_option(answer.chosen),
        "nodes_per_zone": [list(region) for region in answer.per_zone],
        "because": [requirement._asdict() for requirement in (*answer.chosen.binding.requirements, *answer.chosen.binding.steps)],
        "groups": {key: group._asdict() for key, group in answer.groups.items()},
        "partitions": answer.partitions._asdict() if answer.partitions is not None else None,
        "load": {"source": answer.expected.source, **between(answer.expected.load)},
        "scenarios": [scenario._asdict() for scenario in answer.expected.scenarios],
        "not_carried": answer.unreached,
        "alternatives": [of_option(option) for option in answer.options[1:]],
        "impossible": [{"type": one.kind.name, "scenario": one.scenario, "why": one.why} for one in answer.impossible],
        "sensitivity": [change._asdict() for change in sensitivity(answer)],
        "crosschecks": [check._asdict() for check in crosschecks(answer)],
        "notes": list(answer.notes),
    }


def of_option(option: Option) -> dict[str, Any]:
    return {
        "type": option.kind.name,
        "nodes": option.nodes,
        "left_after_losses": option.alive,
        "cost_per_month": option.cost,
        "regret": known(option.regret),
        "latency_ms": between(option.latency_ms),
        "latency_after_losses_ms": between(option.after_loss_ms),
        "utilisation": between(option.utilisation),
        "slack": known(option.slack),
        "availability": option.availability,
        "fails_in": list(option.fails),
    }


def of_advice(advice: Advice) -> dict[str, Any]:
    """What `loggos plan advise --json` prints."""
    return {
        "name": advice.needs.name,
        "summary": advice.summary,
        "meets": advice.meets,
        "services": [
            {
                "service": verdict.service.name,
                "state": verdict.service.state,
                "answer": verdict.answer,
                "instead": verdict.instead,
                "why": list(verdict.why),
                "configure": list(verdict.configure),
                "give_up": list(verdict.give_up),
                "limits": list(verdict.limits),
                "measure": list(verdict.measure),
            }
            for verdict in advice.verdicts
        ],
        "layouts": [
            {"regions": dict(zip(advice.needs.regions, layout.voters, strict=True)), **layout._asdict()}
            for layout in advice.layouts
        ],
    }
