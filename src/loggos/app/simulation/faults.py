"""The nemesis of clusters: what is recoverable here, beyond what the simulator's own nemesis knows.

Silent damage (a lost or misdirected write) is told from a torn tail only if later batches follow it in the journal. A
crash right on it is a double fault, which GUARANTEES.md excludes; so a host with fresh silent damage is not crashed
before it has written on. Likewise rot spares the last batch of a journal.

An ambush is a fault in the moment that matters: it waits for an event of a node (it changes its leader, it promises,
a snapshot is there, a new life begins) and strikes that node right then. A seesaw keeps two halves apart for good
and lets one voter between them see them in turn, so that each half may hold it for its own; ambushes await it there.
To depose is to hit whoever leads at that moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loggos.app.simulation.cluster import SimCluster
from loggos.sim.inodes import all_files
from loggos.sim.nemesis import DEFAULT_WEIGHTS, Args, Arguments, Nemesis, Schedule, Step
from loggos.sim.trace import Draws
from loggos.sim.world import SimHost, SimWorld

CRASHING: Final = ("crash", "power_cut", "power_cut_all", "wipe", "rot", "sync_error", "write_error")
BATCHES_AFTER: Final = 3  # journal batches after silent damage that make it mid-log damage
EVENTS: Final = ("leader", "leader", "promise", "promise", "promise", "snapshot", "snapshot installed", "serves")
AMBUSHES_MAX: Final = 3  # waiting at once


def _ambush(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {
        "event": draws.choice(EVENTS),
        "action": draws.choice(["crash", "crash", "power_cut", "pause", "wipe"]),
        "delay_s": round(draws.expovariate(1 / 0.002), 6),
        "for_s": round(0.03 + 3 * draws.random() ** 3, 3),
        "times": draws.choice([1, 1, 2, 3]),
    }


def _seesaw(draws: Draws, voters: list[str], others: list[str]) -> Args:
    names = list(voters)
    draws.shuffle(names)
    half = len(names) // 2
    turns = draws.randint(3, 8)
    return {
        "between": names[0],
        "sides": [names[1 : 1 + half], names[1 + half :]],
        "turns_s": [round(draws.uniform(0.05, 0.45), 3) for _ in range(turns)],
        "struck": [draws.chance(0.6) for _ in range(turns)],
        "delay_s": round(draws.expovariate(1 / 0.0007), 6),
        "down_s": round(draws.uniform(0.01, 0.2), 3),
        "skips": draws.choice([0, 0, 0, 1]),
    }


def _depose(draws: Draws, voters: list[str], others: list[str]) -> Args:
    how = draws.choice(["isolate"] * 4 + ["stutter"] * 4 + ["pause", "hang_disk", "power_cut", "crash"])
    after_s = round(draws.uniform(0.055, 0.15), 4)
    return {"how": how, "for_s": round(0.1 + 2 * draws.random() ** 2, 3), "rejects": draws.chance(0.8), "after_s": after_s}


ARGUMENTS: Final[dict[str, Arguments]] = {"ambush": _ambush, "seesaw": _seesaw, "depose": _depose}
WEIGHTS: Final = {**DEFAULT_WEIGHTS, "ambush": 3, "seesaw": 2, "depose": 12}


class CarefulNemesis(Nemesis):
    """Keeps double faults out of the schedule."""

    def __init__(self, world: SimWorld, voters: Sequence[str], schedule: Schedule, cluster: SimCluster) -> None:
        super().__init__(world, voters, schedule, cluster)
        self._cluster = cluster
        self._ambushes: list[Args] = []
        cluster.on_event = self._spring
        self._silent: dict[str, int | None] = {}  # host → its journal's batches when the silent damage ended; None: it goes on

    def perform(self, step: Step) -> None:
        names = [step.args["host"]] if "host" in step.args else list(step.args.get("hosts", ()))
        if step.action in CRASHING and any(self._is_fresh(name) for name in names):
            self.skipped += 1
            return
        super().perform(step)

    def _do_ambush(self, args: Args) -> None:
        self._ambushes = [*self._ambushes, *[args] * args["times"]][-AMBUSHES_MAX:]

    def _spring(self, host: SimHost, event: str) -> None:
        if self._is_healed:
            return
        waiting = next((a for a in self._ambushes if a["event"] == event and a.get("host", host.name) == host.name), None)
        if waiting is None:
            return
        self._ambushes.remove(waiting)
        if waiting.get("skips"):
            self._ambushes.append({**waiting, "skips": waiting["skips"] - 1})
            return
        strike = Step(0.0, waiting["action"], {"host": host.name, "for_s": waiting["for_s"], "silent": False, "survival": None})
        self.world.loop.call_later(waiting["delay_s"], self._strike, strike, context=self.world.context)

    def _do_depose(self, args: Args) -> None:
        """Whoever leads now is hit; isolated, it keeps its clients, and leads on until it notices."""
        leader = self._cluster.leader()
        if leader is not None:
            groups = [[leader.name], [name for name in self.voters if name != leader.name]]
            more = {"host": leader.name, "groups": groups, "silent": False, "survival": None}
            self.perform(Step(0.0, args["how"], {**args, **more}))

    def _do_stutter(self, args: Args) -> None:
        """Its connections break unheard by the others, it connects again, then it is gone: of what it sent, parts are missing."""
        for name in args["groups"][1]:
            self.world.network.half_open(args["host"], name)
        step = Step(0.0, "power_cut", args)
        self.world.loop.call_later(args["after_s"], self._strike, step, context=self.world.context)

    def _do_seesaw(self, args: Args) -> None:
        one, two = args["sides"]
        self._reject_for([(a, b) for a in one for b in two], sum(args["turns_s"]))
        self._turn_seesaw(args, 0)

    def _turn_seesaw(self, args: Args, turn: int) -> None:
        """The voter between sees the other side now, and this one no longer."""
        if turn == len(args["turns_s"]):
            return
        between, seconds = args["between"], args["turns_s"][turn]
        if args["struck"][turn]:
            strike = {"event": "promise", "action": "crash", "host": between, "delay_s": args["delay_s"], "for_s": args["down_s"]}
            self._ambushes = [*self._ambushes, {**strike, "skips": args["skips"]}][-AMBUSHES_MAX:]
        self._reject_for([(between, name) for name in args["sides"][turn % 2]], seconds)
        self._later(seconds, lambda: None if self._is_healed else self._turn_seesaw(args, turn + 1))

    def _strike(self, step: Step) -> None:
        if not self._is_healed:
            self.perform(step)

    def _is_fresh(self, name: str) -> bool:
        """A crash now could pass silent damage for a torn tail."""
        if name not in self._silent:
            return False
        ended_at = self._silent[name]
        if ended_at is None or self._batches(name) < ended_at + BATCHES_AFTER:
            return True
        del self._silent[name]
        return False

    def _batches(self, name: str) -> int:
        node = self._cluster.nodes.get(name)
        return node.member.replica.persister.batches if node is not None and node.member.replica is not None else 0

    def _do_misdirect(self, args: Args) -> None:
        self._begin_silent(args)
        super()._do_misdirect(args)

    def _do_lose_write(self, args: Args) -> None:
        self._begin_silent(args)
        super()._do_lose_write(args)

    def _begin_silent(self, args: Args) -> None:
        name = args["host"]
        self._silent[name] = None
        self._cluster.suspect(name)
        self._later(args["for_s"], lambda: self._end_silent(name))

    def _end_silent(self, name: str) -> None:
        self._silent[name] = self._batches(name)

    def rot(self, host: SimHost, sectors: int) -> str:
        """Rot anywhere but in the two newest journal segments, where the last batch lies, and in the identity, which
        is refused by name."""
        files = all_files(host.platter.root)
        spared = [path for path, _ in files if path.startswith("journal/")][-2:]
        spared += [path for path, node in files if path.startswith("identity") or not node.data]
        candidates = [(path, node) for path, node in files if path not in spared]
        if not candidates:
            return ""
        path, node = host.platter.draws.choice(candidates)
        return host.platter.rot_at(path, host.platter.draws.randrange(len(node.data)), sectors)
