"""Needs to advice: which services, in which state, configured how, why, and what is given up.

Rules: a service is named only if something that it does is needed; one that is not built yet is never called fitting, and what
to use today is said with it; a need beyond a service's measured reach is a limit, with the figure. Pure; the same needs give the
same advice. The rules themselves are data in rules.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from loggos.planner.advise import regions
from loggos.planner.advise.needs import Needs, check
from loggos.planner.advise.regions import Layout
from loggos.planner.advise.rules import RULES, WANTED_BY, Situation
from loggos.planner.advise.services import SERVICES, Service

Answer = Literal["use it", "use it when it is built", "use something else"]
KINDS: Final = ("why", "configure", "give up", "limit", "measure")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one service."""

    service: Service
    answer: Answer
    why: tuple[str, ...]
    configure: tuple[str, ...]
    give_up: tuple[str, ...]
    limits: tuple[str, ...]
    measure: tuple[str, ...]

    @property
    def instead(self) -> str:
        """What to use today, if this service is not the answer today; empty otherwise."""
        return "" if self.answer == "use it" else self.service.instead


@dataclass(frozen=True, slots=True)
class Advice:
    """`layouts`: where voters could go, the recommended one first; empty when nothing needs a cell of its own. `meets`: it
    survives and is available as asked."""

    needs: Needs
    verdicts: tuple[Verdict, ...]
    layouts: tuple[Layout, ...]
    meets: bool

    @property
    def fits(self) -> bool:
        """Everything that is needed can be had from Loggos today, as it was asked for."""
        return self.meets and all(verdict.answer == "use it" for verdict in self.verdicts)

    @property
    def summary(self) -> str:
        """The answer in a sentence or two."""
        by_answer = {answer: [v for v in self.verdicts if v.answer == answer] for answer in ANSWERS}
        said = []
        for answer, verdicts in by_answer.items():
            if verdicts:
                named = [f"{v.service.name} ({v.instead} today)" if v.instead else v.service.name for v in verdicts]
                said.append(f"{ANSWERS[answer]} {', '.join(named)}")
        text = "; ".join(said)
        if not self.meets:
            text += ". No layout of voters survives and is available as asked: see the layouts for what nearly does"
        return text[:1].upper() + text[1:] + "."


ANSWERS: Final[dict[Answer, str]] = {
    "use it": "Loggos does today:",
    "use it when it is built": "planned, not built yet:",
    "use something else": "beyond Loggos:",
}


def advise(needs: Needs) -> Advice:
    """Advice for these needs; InputError if they contradict themselves."""
    check(needs)
    found = regions.layouts(needs)
    situation = Situation(needs, found[0])
    wanted = [service for service in SERVICES if needs.any_of(*WANTED_BY[service.name])]
    verdicts = tuple(verdict(service, situation) for service in wanted)
    celled = any(v.service.name == "coordination" for v in verdicts)
    shown = tuple(regions.worth_showing(needs, found)) if celled else ()
    return Advice(needs, verdicts, shown, not celled or regions.good(needs, found[0]))


def verdict(service: Service, situation: Situation) -> Verdict:
    """Every rule of the service that applies."""
    said: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for rule in RULES:
        if rule.service == service.name and rule.when(situation):
            said[rule.kind].append(rule.words(situation))
    answer: Answer = "use it"
    if said["limit"]:
        answer = "use something else"
    elif service.state == "planned":
        answer = "use it when it is built"
    return Verdict(service, answer, *(tuple(said[kind]) for kind in KINDS))
