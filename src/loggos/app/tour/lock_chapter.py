"""Chapter one, a lock that survives: workers increment a counter under a lock while the leader and a holder of the lock fail.

Three nodes and eight workers, each a process. The leader is killed twice and paused once; one holder is paused, with a write
ready, until others have held the lock. Nothing is timed: every step waits, within a bound, for what it needs to have happened,
and the workers are given their work in portions, so that each fault strikes while there is work left.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from loggos.app.clusters import NODES
from loggos.app.tour.processes import NodeProcesses, TourError, WorkerProcesses
from loggos.app.tour.records import (
    COUNTER_PATH,
    LOCK_PATH,
    TOUR_PATH,
    Counter,
    Fault,
    Finished,
    Holding,
    Increment,
    Prepared,
    Record,
    Refusal,
    Replica,
    Stale,
    Story,
    encode_record,
)
from loggos.app.tour.screen import Screen
from loggos.base.limits import TOUR_POLL_S, TOUR_WAIT_S

T = TypeVar("T")
QUIET: Final = logging.getLogger("loggos.tour")  # what a client mutters about broken connections is no news here
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
PORTION: Final = 0.15  # of the work is kept back for each fault that is still to come
STARTS: Final = (0.10, 0.30, 0.50, 0.70)  # share of the work after which each fault may strike


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`holding_max`: increments per holding. `session_s`: the workers' session timeout."""

    total: int = 2_000
    workers: int = 8
    holding_max: int = 5
    session_s: float = 4.0


class LockChapter:
    """One run. `directory`: an empty one for data, logs and records. `story` is complete after `run`."""

    def __init__(self, directory: Path, options: Options, screen: Screen) -> None:
        self.options, self.screen, self.directory = options, screen, directory
        self.story = Story(total=options.total, workers=options.workers)
        self.nodes = NodeProcesses(directory)
        self.workers = WorkerProcesses(directory, self.receive)
        self.last_by_worker: dict[int, float] = {}
        self.limit = 0
        story = self.story
        self._kept: dict[type, list[Any]] = {
            Increment: story.increments,
            Refusal: story.refusals,
            Holding: story.holdings,
            Prepared: story.prepared,
            Stale: story.stale,
            Finished: story.finished,
        }
        self._records = (directory / "records.jsonl").open("wb")

    # --- what the workers tell ---
    def receive(self, record: Record) -> None:
        self._records.write(encode_record(record) + b"\n")
        self._kept[type(record)].append(record)
        if isinstance(record, Increment):
            self.last_by_worker[record.worker] = record.at
            self.screen.advance(len(self.story.increments))

    # --- the run ---
    def run(self) -> Story:
        """Everything from the first process to the last reading. TourError if something does not happen in time."""
        try:
            seconds = self.nodes.start()
            leader = self.wait(self.nodes.leading, "a leader")
            self.screen.event(f"three nodes serve after {seconds:.1f} s; node {leader} leads")
            self.create_counter()
            self.screen.start_bar("increments", self.options.total)
            self.start_workers()
            for number, fault in enumerate(FAULTS):
                self.give_work(len(FAULTS) - number)
                start = STARTS[number] * self.options.total
                self.wait(lambda start=start: len(self.story.increments) >= start, f"{start:.0f} increments")  # type: ignore[misc]
                fault(self)
            self.give_work(0)
            self.wait(self.workers.all_ended, "the end of the workers")
            self.story.ended = time.monotonic()
            self.screen.end_bar()
            self.screen.event(f"all {self.options.workers} workers are done")
            self.read_replicas()
        finally:
            self.screen.end_bar()
            self.stop()
        return self.story

    def stop(self) -> None:
        """End every process of this run."""
        with undisturbed(), ExitStack() as stack:
            stack.callback(self._records.close)
            stack.callback(self.nodes.stop)
            stack.callback(self.workers.stop)

    def create_counter(self) -> None:
        with client_of(self.nodes.hosts(), self.options.session_s) as client:
            client.create(TOUR_PATH)
            client.create(LOCK_PATH)
            client.create(COUNTER_PATH, encode_record(Counter(value=0)))

    def start_workers(self) -> None:
        options = self.options
        self.story.began = time.monotonic()
        for number in range(1, options.workers + 1):
            words = ["--hosts", self.nodes.hosts(), "--total", str(options.total), "--limit", "0"]
            words += ["--holding-max", str(options.holding_max), "--session-s", str(options.session_s)]
            self.workers.start(number, words)

    def give_work(self, faults_left: int) -> None:
        """Let the workers go on up to what is kept back for the faults to come."""
        self.limit = self.options.total - int(faults_left * PORTION * self.options.total)
        for number in self.workers.numbers():
            self.workers.say(number, f"limit {self.limit}")

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """Take in records until `condition` gives something true, which is returned."""
        deadline = time.monotonic() + TOUR_WAIT_S
        while not (found := condition()):
            self.nodes.check_alive()
            self.workers.check()
            if time.monotonic() > deadline:
                raise TourError(f"{what} did not come within {TOUR_WAIT_S:.0f} s: see the logs in {self.directory}")
            self.workers.pump(TOUR_POLL_S)
        return found

    # --- faults ---
    def kill_leader(self) -> None:
        """SIGKILL; the others elect; the node comes back from its own data and catches up."""
        node = self.wait(self.nodes.leading, "a leader")
        fault = self.begin("kill", node)
        self.nodes.kill(node)
        self.screen.event(f"node {node}, the leader, is killed (SIGKILL)", "red")
        self.wait_for_leader(fault, node)
        self.nodes.restart(node)
        fault.back = time.monotonic()
        self.wait(lambda: self.has_caught_up(node), f"the return of node {node}")
        self.screen.event(f"node {node} is back from its own data and has caught up", "green")
        self.wait_until_all_work(fault)

    def pause_leader(self) -> None:
        """SIGSTOP until another leads; then it wakes and still believes that it leads."""
        node = self.wait(self.nodes.leading, "a leader")
        fault = self.begin("pause leader", node)
        self.nodes.pause(node)
        self.screen.event(f"node {node}, the leader, is paused (SIGSTOP)", "red")
        self.wait_for_leader(fault, node)
        self.nodes.resume(node)
        fault.back = time.monotonic()
        self.wait(lambda: self.has_caught_up(node), f"the return of node {node}")
        self.screen.event(f"node {node} is resumed and follows node {fault.leader_after}", "green")
        self.wait_until_all_work(fault)

    def pause_holder(self) -> None:
        """A worker that holds the lock and has its write ready is paused until others have held the lock; then it writes."""
        number = self.story.increments[-1].worker
        self.workers.say(number, "hold")
        self.wait(lambda: self.story.prepared, f"the holding of worker {number}")
        prepared = self.story.prepared[-1]
        fault = Fault(kind="pause holder", target=f"worker {number}", at=time.monotonic())
        self.story.faults.append(fault)
        self.workers.pause(number)
        self.screen.event(f"worker {number} holds the lock (token {prepared.token:#x}) and is paused with its write ready", "red")
        self.wait(lambda: self.story.increments[-1].token > prepared.token, "the end of the paused worker's session")
        token = self.story.increments[-1].token
        self.screen.event(f"its session is over: worker {self.story.increments[-1].worker} has the lock (token {token:#x})")
        self.workers.say(number, "go")
        self.workers.resume(number)
        fault.back = time.monotonic()
        self.wait(lambda: self.story.stale, "the outcome of the stale write")
        word = "ACCEPTED" if self.story.stale[-1].applied else "refused"
        self.screen.event(f"worker {number} is resumed, and its stale write is {word}", "green")
        self.wait_until_all_work(fault)

    def begin(self, kind: str, node: int) -> Fault:
        fault = Fault(kind=kind, target=f"node {node}", at=time.monotonic(), leader_before=node)
        self.story.faults.append(fault)
        return fault

    def wait_for_leader(self, fault: Fault, lost: int) -> None:
        def other() -> int:
            leader = self.nodes.leading()
            return leader if leader != lost else 0

        fault.leader_after = self.wait(other, "a new leader")
        self.screen.event(f"node {fault.leader_after} leads")

    def has_caught_up(self, node: int) -> bool:
        """Does it follow (or lead), with all that the leader had when it was asked?"""
        leader = self.nodes.leading()
        wanted = self.nodes.status(leader).get("index", 0) if leader else None
        mine = self.nodes.status(node)
        if wanted is None or mine.get("role") not in ("follower", "leader"):
            return False
        return bool(mine["index"] >= wanted) and self.nodes.is_serving(node)

    def wait_until_all_work(self, fault: Fault) -> None:
        """Until every worker has incremented since the fault was mended, or all work that is given out is done."""

        def all_work() -> bool:
            if len(self.story.increments) >= self.limit:
                return True
            return all(self.last_by_worker.get(number, 0.0) > fault.back for number in self.workers.numbers())

        self.wait(all_work, "an increment of every worker")
        fault.settled = time.monotonic()

    # --- the end ---
    def read_replicas(self) -> None:
        """Ask each node for the counter, then wait until all tell the same state, and the same digest of the whole of it, made
        anew. What differs at the end is in the story."""
        counters = {}
        for node in range(1, NODES + 1):
            host, port = self.nodes.addresses[node - 1]
            with client_of(f"{host}:{port}", self.options.session_s) as client:
                client.sync(COUNTER_PATH)
                data, stat = client.get(COUNTER_PATH)
                counters[node] = (msgspec.json.decode(data, type=Counter), stat)

        def equal() -> bool:
            states = [state_of(state) for state in self.nodes.statuses().values()]
            return len(states) == NODES and len(dict.fromkeys(states)) == 1

        def equal_in_full() -> bool:
            answers = list(self.nodes.full_digests().values())
            made = all(answer["full_slot"] == answer["slot"] for answer in answers)
            return made and len(answers) == NODES and len(dict.fromkeys(map(full_digest_of, answers))) == 1

        try:
            self.wait(equal, "one state on all nodes")
            self.wait(equal_in_full, "one digest of the whole state on all nodes")
        except TourError as error:
            self.screen.event(str(error), "red")  # the proof will show what differs
        for node, state in self.nodes.statuses().items():
            counter, stat = counters[node]
            told = (counter.value, stat.version, counter.token)
            self.story.replicas.append(Replica(node, *state_of(state), *told, *full_digest_of(state)))


def state_of(status: dict[str, Any]) -> tuple[int, int, str]:
    """(slot, index, digest) as a node's console tells them."""
    return status.get("slot", -1), status.get("index", -1), status.get("digest", "none")


def full_digest_of(status: dict[str, Any]) -> tuple[int, str]:
    """(slot, digest of the whole state at that slot), the newest that the node has made."""
    return status.get("full_slot", 0), status.get("full_digest", "none")


@contextmanager
def client_of(hosts: str, session_s: float) -> Iterator[KazooClient]:
    """A stock client that is closed at the end. TourError if the cluster does not serve it."""
    client = KazooClient(hosts, timeout=session_s, logger=QUIET)
    try:
        client.start(timeout=TOUR_WAIT_S)
        yield client
    except (KazooException, KazooTimeoutError) as error:
        raise TourError(f"{hosts} does not serve a client: {type(error).__name__} {error}") from error
    finally:
        client.stop()
        client.close()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ending processes is not cut short by a second Ctrl-C: every step of it is bounded."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


FAULTS: Final[tuple[Callable[[LockChapter], None], ...]] = (
    LockChapter.kill_leader,
    LockChapter.pause_holder,
    LockChapter.kill_leader,
    LockChapter.pause_leader,
)
