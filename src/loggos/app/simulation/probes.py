"""Rare paths, watched from outside: subclasses that count when a telling method of a production class takes its rare side.

Production code holds no probes: each decision that safety rests on is a small method of its own, so a subclass can see it. The
subclasses change nothing, and stand on whatever parts they are given, planted bugs too. A probe that no seed reaches is a path
that no seed tests (rule 32); `loggos sim` names those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from loggos.app.build import Parts
from loggos.coordination.machine import CoordinationMachine
from loggos.node.agreement import Agreement
from loggos.node.digests import Verdict
from loggos.node.replica import Replica

Probe = Callable[[str], None]

OF_ENGINES: Final = (
    "gap filled",
    "entry adopted",
    "primary order dropped a batch",
    "chosen elsewhere, fetched",
    "candidate gave up behind a compaction",
    "leader without a quorum",
    "rejoin chosen",
    "reads failed with their leader",
)
OF_MACHINES: Final = (
    "expire refused by a touch",
    "repeat dropped",
    "gap in a session refused",
    "older connection refused",
    "container deleted",
    "container spared by a child",
)
OF_REPLICAS: Final = ("forward refused", "commands with unknown fate", "full digests agreed", "scrub gave way")
# What nodes log by themselves. "writes stop" is missing: it must never be reached.
LOGGED: Final = (
    "torn tail cut",
    "damaged data set aside",
    "first start waits for voters",
    "leader",
    "steps down",
    "node stops",
    "disk full",
    "snapshot",
    "snapshot sent",
    "snapshot not sent",
    "snapshot installed",
    "no snapshot",
)
KNOWN: Final = (*OF_ENGINES, *OF_MACHINES, *OF_REPLICAS, *LOGGED)


def probing(parts: Parts, probe: Probe) -> Parts:
    """The same parts, watched."""
    engine = parts.member.engine
    member = replace(parts.member, replica=probing_replica(parts.member.replica, probe))
    if isinstance(engine, type):
        member = replace(member, engine=probing_engine(engine, probe))
    return replace(parts, member=member, machine=probing_machine(parts.machine, probe))


def probing_engine(base: Any, probe: Probe) -> Any:
    class ProbingEngine(base):  # type: ignore[misc]
        def gap_entry(self, lead: Any) -> Any:
            probe("gap filled")
            return super().gap_entry(lead)

        def adopted_entry(self, lead: Any, accepted: Any) -> Any:
            probe("entry adopted")
            return super().adopted_entry(lead, accepted)

        def is_superseded(self, entry: Any) -> bool:
            return _told(probe, "primary order dropped a batch", super().is_superseded(entry))

        def may_learn(self, entry: Any, ballot: Any) -> bool:
            return not _told(probe, "chosen elsewhere, fetched", not super().may_learn(entry, ballot))

        def must_catch_up(self, message: Any) -> bool:
            return _told(probe, "candidate gave up behind a compaction", super().must_catch_up(message))

        def quorum_is_heard(self, lead: Any) -> bool:
            return not _told(probe, "leader without a quorum", not super().quorum_is_heard(lead))

        def change_member(self, *arguments: Any) -> Any:
            probe("rejoin chosen")
            return super().change_member(*arguments)

        def reads_failed(self, lead: Any) -> None:
            _told(probe, "reads failed with their leader", bool(self.rounds or self.waiting))
            super().reads_failed(lead)

    return ProbingEngine


def probing_machine(base: type[CoordinationMachine], probe: Probe) -> type[CoordinationMachine]:
    class ProbingMachine(base):  # type: ignore[valid-type,misc]
        def may_expire(self, session: Any, last_seen: int) -> bool:
            return not _told(probe, "expire refused by a touch", not super().may_expire(session, last_seen))

        def may_reap(self, path: bytes, pzxid: int) -> bool:
            may: bool = super().may_reap(path, pzxid)
            probe("container deleted" if may else "container spared by a child")
            return may

        def repeats(self, session: Any, first_sequence: int) -> int:
            count: int = super().repeats(session, first_sequence)
            _told(probe, "repeat dropped", count > 0)
            return count

        def is_gap(self, session: Any, first_sequence: int) -> bool:
            return _told(probe, "gap in a session refused", super().is_gap(session, first_sequence))

        def is_other_generation(self, session: Any, generation: int) -> bool:
            return _told(probe, "older connection refused", super().is_other_generation(session, generation))

    return ProbingMachine


def probing_replica(base: type[Replica], probe: Probe) -> type[Replica]:
    class ProbingReplica(base):  # type: ignore[valid-type,misc]
        def _on_refused(self, *arguments: Any) -> None:
            probe("forward refused")
            super()._on_refused(*arguments)

        def _interrupt(self) -> None:
            probe("commands with unknown fate")
            super()._interrupt()

        def make_agreement(self) -> Agreement:
            return probing_agreement(type(super().make_agreement()), probe)(self)

    return ProbingReplica


def probing_agreement(base: type[Agreement], probe: Probe) -> type[Agreement]:
    class ProbingAgreement(base):  # type: ignore[valid-type,misc]
        def judge(self, compared: Any, *told: Any) -> Verdict:
            verdict: Verdict = super().judge(compared, *told)
            _told(probe, "full digests agreed", compared is self.full and verdict is Verdict.AGREED)
            return verdict

        def gave_way(self) -> None:
            probe("scrub gave way")
            super().gave_way()

    return ProbingAgreement


def _told(probe: Probe, name: str, is_rare: bool) -> bool:
    if is_rare:
        probe(name)
    return is_rare
