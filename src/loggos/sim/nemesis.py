"""The nemesis: a schedule of faults from a seed, and the hand that carries it out, in two phases: chaos, then heal everything.

Rules:
- A schedule is data: (time, action, arguments), everything drawn beforehand, each step with its own end. So a step can be
  dropped without changing the others, and a failing schedule shrinks (`shrink`).
- Only what is recoverable: storage is never damaged or wiped on more than a minority of voters before the earlier ones are
  whole again (`Recovery.is_whole`, which the scenario answers). Crashes, power cuts, pauses and partitions may hit all of
  them.
- A write that the disk loses or misdirects is recoverable only if the node goes on to write behind it: a missing last batch
  cannot be told from one that never was. So such a host is spared all else until it has written more; then it is restarted,
  and finds out.
- A host that is down when its step comes is left alone. What a step did to a host is undone when its time is up, or by
  `heal`.

After the fault catalogue of FoundationDB's and TigerBeetle's simulators and of Jepsen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from loggos.sim.network import SimNetwork
from loggos.sim.trace import Draws
from loggos.sim.world import SimHost, SimWorld

Args = dict[str, Any]
Arguments = Callable[[Draws, list[str], list[str]], Args]  # draws an action's arguments, given the voters and the others
_WRITE_ON_S: Final = 1.0
_WRITES_BEHIND: Final = 10  # journal writes behind a bad one
DAMAGING: Final = ("wipe", "rot", "misdirect", "lose_write")
DEFAULT_WEIGHTS: Final[dict[str, float]] = {
    "crash": 3, "power_cut": 3, "power_cut_all": 1, "wipe": 0.5, "pause": 3, "stall": 3,
    "clock_jump": 1.5, "clock_drift": 1, "rot": 0.7, "misdirect": 0.3, "lose_write": 0.3, "sync_error": 1, "write_error": 0.5,
    "slow_disk": 2, "hang_disk": 1.5, "full_disk": 1, "isolate": 3, "halves": 2, "ring": 1, "one_way": 2, "swizzle": 2,
    "lossy_link": 2, "slow_link": 2, "half_open": 2, "reset": 2,
}  # fmt: skip


class Step(NamedTuple):
    """One fault. `at_s`: after the start of the chaos."""

    at_s: float
    action: str
    args: Args


@dataclass(frozen=True)
class Schedule:
    """What will be done to whom, and when the chaos ends."""

    chaos_s: float
    steps: tuple[Step, ...]

    def to_json(self) -> str:
        return json.dumps({"chaos_s": self.chaos_s, "steps": [list(step) for step in self.steps]})

    @staticmethod
    def from_json(text: str) -> Schedule:
        """ValueError or KeyError when it is none."""
        raw = json.loads(text)
        steps = tuple(Step(float(at), str(action), dict(args)) for at, action, args in raw["steps"])
        return Schedule(float(raw["chaos_s"]), steps)

    def without(self, positions: Sequence[int]) -> Schedule:
        dropped = dict.fromkeys(positions)
        return Schedule(self.chaos_s, tuple(step for i, step in enumerate(self.steps) if i not in dropped))

    def lines(self) -> list[str]:
        """For people."""
        return [f"{step.at_s:9.3f} s  {step.action}  {json.dumps(step.args)}" for step in self.steps]


class Recovery(Protocol):
    """What the nemesis asks of the scenario."""

    def restart(self, host: SimHost) -> None:
        """Start the host's program again."""
        ...

    def is_whole(self, host: SimHost) -> bool:
        """Has a damaged or wiped host got back all it should have?"""
        ...


def make_schedule(
    draws: Draws,
    voters: Sequence[str],
    chaos_s: float,
    mean_gap_s: float = 2.0,
    weights: dict[str, float] | None = None,
    others: Sequence[str] = (),
    more: dict[str, Arguments] | None = None,
) -> Schedule:
    """Draw a schedule. `others`: hosts (clients) whose links and life may suffer too, but whose disks do not matter. `more`: the
    arguments of a scenario's own actions."""
    arguments = _ARGUMENTS | (more or {})
    weights = DEFAULT_WEIGHTS if weights is None else weights
    actions, shares = list(weights), list(weights.values())
    steps: list[Step] = []
    at = draws.expovariate(1 / mean_gap_s)
    while at < chaos_s:
        action = draws.choices(actions, shares)[0]
        steps.append(Step(round(at, 6), action, arguments[action](draws, list(voters), list(others))))
        at += draws.expovariate(1 / mean_gap_s)
    return Schedule(chaos_s, tuple(steps))


def shrink(schedule: Schedule, still_fails: Callable[[Schedule], bool], runs_max: int = 100) -> Schedule:
    """The same failure with fewer steps: drop ever smaller pieces while it still fails (delta debugging)."""
    size = max(1, len(schedule.steps) // 2)
    runs = 0
    while size >= 1 and runs < runs_max:
        start, dropped = 0, False
        while start < len(schedule.steps) and runs < runs_max:
            smaller = schedule.without(range(start, start + size))
            runs += 1
            if still_fails(smaller):
                schedule, dropped = smaller, True
            else:
                start += size
        if size == 1 and not dropped:
            break
        size = max(1, size // 2) if not dropped or size > 1 else 1
    return schedule


# --- drawing the arguments -----------------------------------------------------------------------------------------------


def _seconds(draws: Draws, low: float, high: float) -> float:
    """Mostly short, sometimes long."""
    return round(low + (high - low) * draws.random() ** 2, 3)


def _one(low_s: float, high_s: float) -> Callable[[Draws, list[str], list[str]], Args]:
    """A fault of one voter, for a while."""
    return lambda draws, voters, others: {"host": draws.choice(voters), "for_s": _seconds(draws, low_s, high_s)}


def _crash(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {"host": draws.choice(voters), "for_s": _seconds(draws, 0.05, 8), "silent": draws.chance(0.2)}


def _power_cut(draws: Draws, voters: list[str], others: list[str]) -> Args:
    survival = draws.choice(["none", "all", "prefix", "each", "torn", "torn"])
    return {"host": draws.choice(voters), "for_s": _seconds(draws, 0.2, 8), "survival": survival}


def _power_cut_all(draws: Draws, voters: list[str], others: list[str]) -> Args:
    """Often after a while in which every disk is slow, so that much is on its way."""
    slow_s = draws.choice([0.0, _seconds(draws, 0.1, 1)])
    return {"hosts": voters, "for_s": [_seconds(draws, 0.2, 3) for _ in voters], "slow_s": slow_s}


def _clock_jump(draws: Draws, voters: list[str], others: list[str]) -> Args:
    size = int(10 ** draws.uniform(1, 8))
    return {"host": draws.choice(voters), "milliseconds": size if draws.chance(0.5) else -size}


def _clock_drift(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {"host": draws.choice(voters), "rate": round(draws.uniform(0.95, 1.05), 4), "for_s": _seconds(draws, 1, 20)}


def _rot(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {"host": draws.choice(voters), "sectors": draws.choice([1, 1, 1, 8])}


def _halves(draws: Draws, voters: list[str], others: list[str]) -> Args:
    names = voters + others
    draws.shuffle(names)
    at = draws.randint(1, max(1, len(names) - 1))
    return {"groups": [names[:at], names[at:]], "for_s": _seconds(draws, 0.5, 12), "rejects": draws.chance(0.5)}


def _isolate(draws: Draws, voters: list[str], others: list[str]) -> Args:
    """From the other voters only, or from everybody."""
    host = draws.choice(voters)
    rest = [name for name in voters + (others if draws.chance(0.5) else []) if name != host]
    return {"groups": [[host], rest], "for_s": _seconds(draws, 0.5, 12), "rejects": draws.chance(0.5)}


def _ring(draws: Draws, voters: list[str], others: list[str]) -> Args:
    names = list(voters)
    draws.shuffle(names)
    return {"names": names, "for_s": _seconds(draws, 1, 10)}


def _pair(draws: Draws, voters: list[str], others: list[str]) -> Args:
    one = draws.choice(voters)
    return {"source": one, "target": draws.choice([name for name in voters + others if name != one] or [one])}


def _one_way(draws: Draws, voters: list[str], others: list[str]) -> Args:
    pair = _pair(draws, voters, others)
    if draws.chance(0.5):
        pair = {"source": pair["target"], "target": pair["source"]}
    return {**pair, "for_s": _seconds(draws, 0.5, 10)}


def _swizzle(draws: Draws, voters: list[str], others: list[str]) -> Args:
    """Links are cut one by one and mended in another order."""
    links = [[one, two] for one in voters for two in voters if one != two and draws.chance(0.6)]
    draws.shuffle(links)
    mend = list(range(len(links)))
    draws.shuffle(mend)
    return {"links": links, "mend": mend, "gap_s": _seconds(draws, 0.05, 1)}


def _lossy_link(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {**_pair(draws, voters, others), "loss": round(draws.uniform(0.01, 0.3), 3), "for_s": _seconds(draws, 1, 15)}


def _slow_link(draws: Draws, voters: list[str], others: list[str]) -> Args:
    return {**_pair(draws, voters, others), "delay_s": _seconds(draws, 0.005, 0.4), "for_s": _seconds(draws, 1, 15)}


_ARGUMENTS: Final[dict[str, Arguments]] = {
    "crash": _crash, "power_cut": _power_cut, "power_cut_all": _power_cut_all, "wipe": _one(0.2, 5), "pause": _one(0.1, 12),
    "stall": _one(0.01, 0.5), "clock_jump": _clock_jump, "clock_drift": _clock_drift, "rot": _rot,
    "misdirect": _one(0.01, 0.3), "lose_write": _one(0.01, 0.3), "sync_error": _one(0.01, 1), "write_error": _one(0.01, 1),
    "slow_disk": _one(1, 15), "hang_disk": _one(0.1, 10), "full_disk": _one(0.5, 8), "isolate": _isolate, "halves": _halves,
    "ring": _ring, "one_way": _one_way, "swizzle": _swizzle, "lossy_link": _lossy_link, "slow_link": _slow_link,
    "half_open": _pair, "reset": _pair,
}  # fmt: skip


# --- carrying it out -----------------------------------------------------------------------------------------------------


class Nemesis:
    """Carries out a schedule. `chaos` takes the schedule's time; then call `heal`. Hosts that stop by themselves are restarted
    after `restart_after_s`, as a service manager would."""

    def __init__(
        self, world: SimWorld, voters: Sequence[str], schedule: Schedule, recovery: Recovery, restart_after_s: float = 1.0
    ) -> None:
        self.world, self.voters, self.schedule, self.recovery = world, list(voters), schedule, recovery
        self.restart_after_s = restart_after_s
        self.damaged: dict[str, bool] = {}  # by host: has it been restarted since, so that it knows?
        self.spared: dict[str, None] = {}  # hosts whose disk is being tampered with
        self.skipped = 0  # steps that were not recoverable, or whose host was down
        self._undoing: dict[int, tuple[Any, Callable[[], None]]] = {}
        self._next = 0
        self._is_healed = False
        for name in self.voters:
            host = world.hosts[name]
            if host.on_failure is None:
                host.on_failure = self._stopped_by_itself(host)

    async def chaos(self) -> None:
        """Carry out the schedule, step by step, and wait for its end."""
        loop = self.world.loop
        start = loop.time()
        for step in self.schedule.steps:
            await _sleep_until(self.world, start + step.at_s)
            self.perform(step)
        await _sleep_until(self.world, start + self.schedule.chaos_s)

    def perform(self, step: Step) -> None:
        """One step, now."""
        host = self.world.hosts.get(step.args.get("host", ""))
        if host is not None and (not host.is_running or host.name in self.spared or not self._is_recoverable(step, host)):
            self.skipped += 1
            return
        self.world.trace.event(self.world.loop.time(), "nemesis", step.action, json.dumps(step.args))
        getattr(self, "_do_" + step.action)(step.args)

    def _is_recoverable(self, step: Step, host: SimHost) -> bool:
        return step.action not in DAMAGING or self.may_damage(host.name)

    def may_damage(self, name: str) -> bool:
        """Would the cell still be recoverable if this voter lost data now?"""
        for other, knows in list(self.damaged.items()):
            if knows and self.world.hosts[other].is_running and self.recovery.is_whole(self.world.hosts[other]):
                del self.damaged[other]
        return len(dict.fromkeys([*self.damaged, name])) <= (len(self.voters) - 1) // 2

    def heal(self) -> None:
        """The end of all faults: links, clocks and disks work, paused hosts go on, hosts that are down are started."""
        self._is_healed = True
        pending, self._undoing = self._undoing, {}
        for timer, undo in pending.values():
            timer.cancel()
            undo()
        self.world.network.heal()
        for name in self.voters:
            host = self.world.hosts[name]
            host.platter.faults.calm()
            host.platter.unhang()
            host.resume()
            if host.clock.rate != 1.0:
                host.clock_drift(1.0)
            self._restart(host)

    # --- helpers ---

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        """Undo something after a while, or when everything is healed."""
        self._next += 1
        number = self._next

        def due() -> None:
            del self._undoing[number]
            undo()

        timer = self.world.loop.call_later(seconds, due, context=self.world.context)
        self._undoing[number] = (timer, undo)

    def _restart(self, host: SimHost) -> None:
        if not host.is_running:
            if host.name in self.damaged:
                self.damaged[host.name] = host.name not in self.spared
            self.recovery.restart(host)

    def _stopped_by_itself(self, host: SimHost) -> Callable[[str, BaseException], None]:
        return lambda task, error: self._later(self.restart_after_s, lambda: self._restart(host))

    def _host(self, args: Args) -> SimHost:
        return self.world.hosts[args["host"]]

    # --- hosts ---

    def _do_crash(self, args: Args) -> None:
        host = self._host(args)
        host.crash(silent=args["silent"])
        self._later(args["for_s"], lambda: self._restart(host))

    def _do_power_cut(self, args: Args) -> None:
        host = self._host(args)
        host.power_cut(args["survival"])
        self._later(args["for_s"], lambda: self._restart(host))

    def _do_power_cut_all(self, args: Args) -> None:
        if args.get("slow_s"):
            for name in args["hosts"]:
                self._set_fault({"host": name, "for_s": args["slow_s"]}, "slow", 0.5)
            self._later(args["slow_s"], lambda: self._cut_all_power(args))
        else:
            self._cut_all_power(args)

    def _cut_all_power(self, args: Args) -> None:
        if self._is_healed:
            return
        for name, seconds in zip(args["hosts"], args["for_s"], strict=True):
            host = self.world.hosts[name]
            if host.is_running and name not in self.spared:
                host.power_cut()
                self._later(seconds, lambda host=host: self._restart(host))  # type: ignore[misc]

    def _do_wipe(self, args: Args) -> None:
        host = self._host(args)
        self.damaged[host.name] = False
        host.crash()
        host.wipe()
        self._later(args["for_s"], lambda: self._restart(host))

    def _do_pause(self, args: Args) -> None:
        host = self._host(args)
        if not host.is_paused:
            host.pause()
            self._later(args["for_s"], host.resume)

    _do_stall = _do_pause

    def _do_clock_jump(self, args: Args) -> None:
        self._host(args).clock_jump(args["milliseconds"])

    def _do_clock_drift(self, args: Args) -> None:
        host = self._host(args)
        host.clock_drift(args["rate"])
        self._later(args["for_s"], lambda: host.clock_drift(1.0))

    # --- disks ---

    def _do_rot(self, args: Args) -> None:
        """Damage what is stored while the host is down (what runs has read it already), then start it again."""
        host = self._host(args)
        host.crash()
        if self.rot(host, args["sectors"]):
            self.damaged[host.name] = False
        self._later(self.restart_after_s, lambda: self._restart(host))

    def rot(self, host: SimHost, sectors: int) -> str:
        """Where to damage; a scenario overrides it to spare what cannot be recovered."""
        return host.platter.rot(sectors=sectors)

    def _set_fault(self, args: Args, name: str, value: Any) -> None:
        faults = self._host(args).platter.faults
        calm = getattr(type(faults)(), name)
        setattr(faults, name, value)
        self._later(args["for_s"], lambda: setattr(faults, name, calm))

    def _do_misdirect(self, args: Args) -> None:
        self._tamper(args, "misdirected")

    def _do_lose_write(self, args: Args) -> None:
        self._tamper(args, "lost")

    def _tamper(self, args: Args, fault: str) -> None:
        host = self._host(args)
        self.damaged[host.name] = False
        self.spared[host.name] = None
        self._set_fault(args, fault, 0.3)
        self._later(args["for_s"] + _WRITE_ON_S, lambda: self._end_tampering(host))

    def _end_tampering(self, host: SimHost) -> None:
        """Restart it once it has written enough behind the bad writes; at the end of the chaos, leave it alone."""
        if not self._is_healed and host.is_running and host.platter.writes_since_tampering < _WRITES_BEHIND:
            self._later(_WRITE_ON_S, lambda: self._end_tampering(host))
            return
        del self.spared[host.name]
        if not self._is_healed and host.is_running:
            host.crash()
            self._later(self.restart_after_s, lambda: self._restart(host))

    def _do_sync_error(self, args: Args) -> None:
        self._set_fault(args, "sync_error", 0.5)

    def _do_write_error(self, args: Args) -> None:
        self._set_fault(args, "write_error", 0.5)

    def _do_slow_disk(self, args: Args) -> None:
        self._set_fault(args, "slow", 0.3)

    def _do_full_disk(self, args: Args) -> None:
        self._set_fault(args, "quota_bytes", 0)

    def _do_hang_disk(self, args: Args) -> None:
        platter = self._host(args).platter
        platter.hang()
        self._later(args["for_s"], platter.unhang)

    # --- links ---

    def _cut_for(self, links: list[tuple[str, str]], seconds: float) -> None:
        network = self.world.network
        self.world.trace.fault(self.world.loop.time(), "network", "partition", f"{len(links)} links")
        for source, target in links:
            network.cut(source, target)
        self._later(seconds, lambda: _mend_all(network, links))

    def _reject_for(self, pairs: list[tuple[str, str]], seconds: float) -> None:
        network = self.world.network
        for one, two in pairs:
            network.reject(one, two)
        self._later(seconds, lambda: _allow_all(network, pairs))

    def _do_halves(self, args: Args) -> None:
        """Packets across are lost without a word, or (`rejects`) connections are reset and refused, as a firewall may do it."""
        one, two = args["groups"]
        if args.get("rejects"):
            self._reject_for([(a, b) for a in one for b in two], args["for_s"])
            return
        self._cut_for([link for a in one for b in two for link in ((a, b), (b, a))], args["for_s"])

    _do_isolate = _do_halves

    def _do_ring(self, args: Args) -> None:
        self._cut_for(self.world.network.ring_links(args["names"]), args["for_s"])

    def _do_one_way(self, args: Args) -> None:
        self._cut_for([(args["source"], args["target"])], args["for_s"])

    def _do_swizzle(self, args: Args) -> None:
        network, gap = self.world.network, args["gap_s"]
        links = args["links"]
        for position, (source, target) in enumerate(links):
            place = len(links) + args["mend"].index(position)
            self._later(position * gap, lambda source=source, target=target: network.cut(source, target))  # type: ignore[misc]
            self._later(place * gap + gap / 2, lambda source=source, target=target: network.mend(source, target))  # type: ignore[misc]
        if links:
            self.world.trace.fault(self.world.loop.time(), "network", "swizzle", f"{len(links)} links")

    def _do_lossy_link(self, args: Args) -> None:
        link = self.world.network.link_between(args["source"], args["target"])
        link.loss = args["loss"]
        self._later(args["for_s"], lambda: setattr(link, "loss", 0.0))

    def _do_slow_link(self, args: Args) -> None:
        link = self.world.network.link_between(args["source"], args["target"])
        link.extra_s = args["delay_s"]
        self.world.network.count_fault("slow link", link)
        self._later(args["for_s"], lambda: setattr(link, "extra_s", 0.0))

    def _do_half_open(self, args: Args) -> None:
        self.world.network.half_open(args["source"], args["target"])

    def _do_reset(self, args: Args) -> None:
        self.world.network.reset_connections(args["source"], args["target"])


def _mend_all(network: SimNetwork, links: list[tuple[str, str]]) -> None:
    for source, target in links:
        network.mend(source, target)


def _allow_all(network: SimNetwork, pairs: list[tuple[str, str]]) -> None:
    for one, two in pairs:
        network.allow(one, two)


async def _sleep_until(world: SimWorld, when: float) -> None:
    future = world.loop.create_future()
    world.loop.call_at(when, future.set_result, None)
    await future
