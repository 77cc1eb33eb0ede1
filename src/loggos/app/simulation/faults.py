"""The nemesis of clusters: what is recoverable here, beyond what the simulator's own nemesis knows.

Silent damage (a lost or misdirected write) is told from a torn tail only if later batches follow it in the journal. A
crash right on it is a double fault, which GUARANTEES.md excludes; so a host with fresh silent damage is not crashed
before it has written on. Likewise rot spares the last batch of a journal.

The moment that matters is often a short one, which random times seldom meet. So:
- an ambush waits for an event of a node (it changes its leader, it promises, a snapshot is there, a new life begins) and
  strikes that node right then;
- a seesaw keeps two halves apart for good and lets one voter between them see them in turn, so that each half may hold it
  for its own; ambushes await it there;
- to depose is to hit whoever leads at that moment; to muzzle it, to cut it off when it has just answered a client and no
  other node knows yet that it may;
- to usurp is to depose a leader that has entries of its own, to muzzle the next one as soon as it knows its first entry
  as chosen, and to let the first one come back, with its entries in the same slots;
- to tear is to cut the power in the middle of a journal write of several sectors;
- to lag is to be away for so short a time that the clients stay, and so long that a snapshot is needed;
- an echo brings a client's command to the log once more: as it was, with one missing before it, or as of a former
  connection of the session (no node does that; rule 11 holds even so);
- after a sync error a node is crashed as well, whether it stopped by itself or not.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from loggos.app.build import Node
from loggos.app.simulation.cluster import PEER_PORT, SimCluster
from loggos.coordination.commands import MACHINE_ID, REQUESTS_HEADER
from loggos.coordination.sessions import Session
from loggos.sim.inodes import all_files
from loggos.sim.nemesis import DEFAULT_WEIGHTS, Args, Arguments, Nemesis, Schedule, Step
from loggos.sim.trace import Draws
from loggos.sim.world import SimHost, SimWorld

CRASHING: Final = ("crash", "power_cut", "power_cut_all", "wipe", "rot", "sync_error", "write_error", "tear")
BATCHES_AFTER: Final = 3  # journal batches after silent damage that make it mid-log damage
EVENTS: Final = ("leader", "leader", "promise", "promise", "promise", "snapshot", "snapshot installed", "serves")
AMBUSHES_MAX: Final = 3  # waiting at once
USURPER_WAITS_S: Final = 3.0  # for the next leader
TEAR_TRIES_MAX: Final = 30
TORN_SECTORS_MIN: Final = 2
ECHO_GAP: Final = 1_000  # operations missing: far more than one connection of a client brings
SET_ASIDE: Final = "damaged-"  # nobody reads what lies there


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
    how = draws.choice(["isolate"] * 4 + ["stutter"] * 7 + ["muzzle"] * 7 + ["pause", "hang_disk", "power_cut", "crash"])
    for_s = round(0.1 + 2 * draws.random() ** 2, 3) + (0.7 if how == "muzzle" else 0.0)
    return {
        "how": how,
        "for_s": for_s,
        "rejects": draws.chance(0.8),
        "after_s": round(draws.uniform(0.055, 0.15), 4),
        "slow_s": draws.choice([0.0, 1.5, 1.5]),
        "young_s": draws.choice([0.0, round(draws.uniform(0.1, 0.6), 3), round(draws.uniform(0.1, 0.6), 3)]),
    }


def _usurp(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {"alone_s": round(draws.uniform(0.1, 0.35), 3), "for_s": round(draws.uniform(0.9, 2.0), 3)}


def _tear(draws: Draws, voters: list[str], others: list[str]) -> Args:
    slow_s, for_s = round(draws.uniform(0.05, 0.35), 3), round(0.02 + draws.random() ** 2, 3)
    return {"host": draws.choice(voters), "slow_s": slow_s, "for_s": for_s}


def _lag(draws: Draws, voters: list[str], others: list[str]) -> Args:
    host = draws.choice(voters)
    groups = [[host], [name for name in voters if name != host]]
    return {"host": host, "groups": groups, "for_s": round(draws.uniform(0.3, 1.3), 3), "is_slow": draws.chance(0.7)}


def _echo(draws: Draws, voters: list[str], others: list[str]) -> Args:
    how = draws.choice(["repeat", "gap", "former", "former"])
    return {"how": how, "which": round(draws.random(), 6), "where": round(draws.random(), 6)}


def _sync_error(draws: Draws, voters: list[str], others: list[str]) -> Args:
    for_s = round(0.05 + draws.random() ** 2, 3)
    return {"host": draws.choice(voters), "for_s": for_s, "crash_after_s": round(for_s + 0.6 * draws.random(), 3)}


ARGUMENTS: Final[dict[str, Arguments]] = {
    "ambush": _ambush, "seesaw": _seesaw, "depose": _depose, "usurp": _usurp, "tear": _tear, "lag": _lag,
    "echo": _echo, "sync_error": _sync_error,
}  # fmt: skip
WEIGHTS: Final = {**DEFAULT_WEIGHTS, "ambush": 3, "seesaw": 2, "depose": 12, "usurp": 6, "tear": 6, "lag": 3, "echo": 3}


class CarefulNemesis(Nemesis):
    """Keeps double faults out of the schedule."""

    def __init__(self, world: SimWorld, voters: Sequence[str], schedule: Schedule, cluster: SimCluster) -> None:
        super().__init__(world, voters, schedule, cluster)
        self._cluster = cluster
        self._ambushes: list[Args] = []
        cluster.on_event = self._spring
        cluster.recorder.on_answer = self._answers
        self._muzzle: Args | None = None  # for whoever leads when it has answered a client
        self._usurpation: Args | None = None  # waits for the next leader
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
        if event == "settled" and self._usurpation is not None:
            self._crown(host)
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
        """Its connections break unheard by the others, it connects again, then it is gone: of what it sent, parts are missing.
        Nodes that have just been reset suspect nothing when somebody connects again: they do not call for an election."""
        if not args["young_s"]:
            self._stutter(args)
            return
        for position, one in enumerate(self.voters):
            for two in self.voters[position + 1 :]:
                self.world.network.reset_connections(one, two)
        self.world.loop.call_later(args["young_s"], self._stutter_young, args, context=self.world.context)

    def _stutter_young(self, args: Args) -> None:
        leader = self._cluster.leader()
        if leader is not None and not self._is_healed:
            self._stutter({**args, "host": leader.name})

    def _stutter(self, args: Args) -> None:
        """What the leader says to others breaks off; what they say to it does not."""
        for end in self.world.network.ends_of(args["host"]):
            if end.remote[1] == PEER_PORT:
                end.out.cut_off()
                end.fail(ConnectionResetError(errno.ECONNRESET, "connection lost (one side only)"))
        step = Step(0.0, "power_cut", args)
        self.world.loop.call_later(args["after_s"], self._strike, step, context=self.world.context)

    def _do_muzzle(self, args: Args) -> None:
        """While the others' disks are slow, too, the next leader is long in finding out what was chosen."""
        self._muzzle = args
        for name in args["groups"][1]:
            if args["slow_s"]:
                self._set_fault({"host": name, "for_s": args["slow_s"]}, "slow", 0.5)

    def _answers(self, node: int) -> None:
        """A node applied a command before all others, and answers its client; the news for the others is on its way."""
        args, name = self._muzzle, self.voters[node - 1]
        if args is not None and name == args["host"] and not self._is_healed:
            self._muzzle = None
            self._silence(name, args["for_s"])

    def _silence(self, name: str, seconds: float) -> None:
        """Nothing passes between this voter and the others, what is on its way included, and nobody is told."""
        others = [other for other in self.voters if other != name]
        self._cut_for([link for other in others for link in ((name, other), (other, name))], seconds)

    def _do_usurp(self, args: Args) -> None:
        """For a moment nobody hears the leader, nor knows that it is lost: what its clients write now is its own."""
        leader = self._cluster.leader()
        if leader is not None and self._usurpation is None:
            self._silence(leader.name, args["alone_s"])
            self._later(args["alone_s"], lambda: self._usurp(leader, args))

    def _usurp(self, leader: SimHost, args: Args) -> None:
        if self._usurpation is not None or self._is_healed:
            return
        pairs = [(leader.name, other) for other in self.voters if other != leader.name]
        for one, two in pairs:
            self.world.network.reject(one, two)
        self._usurpation = {**args, "host": leader.name, "pairs": pairs}
        self._later(USURPER_WAITS_S, lambda usurpation=self._usurpation: self._end_usurpation(usurpation))  # type: ignore[misc]

    def _crown(self, host: SimHost) -> None:
        """A leader knows its first entry as chosen."""
        usurpation = self._usurpation
        if usurpation is not None and host.name != usurpation["host"]:
            self._silence(host.name, usurpation["for_s"])
            self._end_usurpation(usurpation)

    def _end_usurpation(self, usurpation: Args) -> None:
        if self._usurpation is usurpation:
            self._usurpation = None
            for one, two in usurpation["pairs"]:
                self.world.network.allow(one, two)

    def _do_echo(self, args: Args) -> None:
        """At a node that does not serve the session, so that no client there waits for another answer."""
        recent = self._cluster.recorder.recent
        if not recent:
            return
        command = recent[int(args["which"] * len(recent))]
        session = REQUESTS_HEADER.unpack_from(command)[1]
        nodes = [node for node in self._cluster.running() if node.service is not None and session not in node.service.clients]
        if nodes:
            node = nodes[int(args["where"] * len(nodes))]
            forged = _forge(command, args["how"], node.machine.sessions.get(session))
            self.world.hosts[self.voters[node.config.id - 1]].start(lambda ports: _propose(node, forged), "echo")

    def _do_tear(self, args: Args) -> None:
        """The disk is slow for a while, so that much is written at once; then the power goes."""
        for name, value in (("slow", 1.0), ("slow_s", 0.03), ("tears", True)):
            self._set_fault({"host": args["host"], "for_s": args["slow_s"]}, name, value)
        self._later(args["slow_s"] / 2, lambda: self._tear(args, TEAR_TRIES_MAX))

    def _tear(self, args: Args, tries: int) -> None:
        """Now, if such a write is in progress; it is tried again for as long as the disk is slow, and then done anyway."""
        if self._host(args).platter.journal_sectors >= TORN_SECTORS_MIN or not tries:
            self._strike(Step(0.0, "power_cut", {"host": args["host"], "for_s": args["for_s"], "survival": "torn"}))
        else:
            self._later(args["slow_s"] / 2 / (TEAR_TRIES_MAX + 1), lambda: self._tear(args, tries - 1))

    def _do_lag(self, args: Args) -> None:
        if args["is_slow"]:
            self._set_fault({"host": args["host"], "for_s": args["for_s"] + 1.0}, "slow", 0.5)
        self._do_halves({**args, "rejects": True})

    def _do_sync_error(self, args: Args) -> None:
        super()._do_sync_error(args)
        strike = Step(0.0, "crash", {"host": args["host"], "for_s": 0.1, "silent": False})
        self.world.loop.call_later(args["crash_after_s"], self._strike, strike, context=self.world.context)

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
        self._cluster.tampered(name)
        self._silent[name] = None
        self._cluster.suspect(name)
        self._later(args["for_s"], lambda: self._end_silent(name))

    def _end_silent(self, name: str) -> None:
        self._silent[name] = self._batches(name)

    def rot(self, host: SimHost, sectors: int) -> str:
        """Rot anywhere but in the two newest journal segments, where the last batch lies."""
        files = all_files(host.platter.root)
        spared = [path for path, _ in files if path.startswith("journal/")][-2:]
        spared += [path for path, node in files if not node.data]
        candidates = [(path, node) for path, node in files if path not in spared and not path.startswith(SET_ASIDE)]
        if not candidates:
            return ""
        self._cluster.tampered(host.name)
        path, node = host.platter.draws.choice(candidates)
        return host.platter.rot_at(path, host.platter.draws.randrange(len(node.data)), sectors)


def _forge(command: bytes, how: str, session: Session | None) -> bytes:
    """The command as a late duplicate, one behind a gap, or one of the session's former connection."""
    kind, name, generation, sequence, count = REQUESTS_HEADER.unpack_from(command)
    if how == "gap":
        sequence += ECHO_GAP
    elif how == "former" and session is not None:
        generation, sequence = session.generation - 1, session.sequence + 1
    return REQUESTS_HEADER.pack(kind, name, generation, sequence, count) + command[REQUESTS_HEADER.size :]


async def _propose(node: Node, command: bytes) -> None:
    if node.member.replica is not None:
        node.member.replica.propose(MACHINE_ID, command)
