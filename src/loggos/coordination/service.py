"""What one node does for its coordination clients: the log's follower, and the place where clients, watches and liveness
meet.

Rules:
- Writes of all clients are gathered within a loop turn and handed to the log as runs, one command per run; nothing is ever
  sent again (rule 12): when the log is interrupted, every client with an unknown outcome is disconnected.
- The log calls `applied` right after the machine applied a command, before the next one: reads that wait for a session's own
  write are answered there, so they see neither less nor more than that session's earlier writes.
- Events of operation k reach a client before the reply of operation k and before everything after it.
- A session is served by the connection of its highest generation; an older one on this node is closed.
- While no leader is known nothing is proposed: a connect request is held here, writes wait with their client. So neither can be
  applied after its client was seen to go, nor is it given up with what had been sent to the leader that was lost.
- A node that has known no leader for a while sends its clients away: it can neither keep their sessions alive nor tell them
  that they died.

Must not know: frames and opcodes (zookeeper/), how the log works.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final, Protocol

from loggos.base.errors import OverloadedError
from loggos.base.ids import NO_NODE, Index, NodeId, SessionId
from loggos.base.limits import (
    CLIENTS_HELD_BYTES_MAX,
    CLIENTS_HELD_PAUSE_BYTES,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_ADDRESS_MAX,
    CONTAINER_CHECK_MS,
    FRAME_DEADLINE_MS,
    HEARTBEAT_MS,
    LEADERLESS_CLOSE_MS,
    LEADERLESS_REFUSE_MS,
    SESSION_TICK_MS,
    WATCHES_PER_CONNECTION_MAX,
)
from loggos.base.ports import Clock, Entropy, Log, Spawner
from loggos.coordination.acl import OPEN_ACL, permits
from loggos.coordination.budget import Budget
from loggos.coordination.census import Census
from loggos.coordination.commands import (
    ATTACH,
    ATTACH_HEADER,
    EXPIRE,
    MACHINE_ID,
    REQUESTS,
    REQUESTS_HEADER,
    Attached,
    Outcome,
    TreeEvent,
    encode_attach,
)
from loggos.coordination.containers import Containers
from loggos.coordination.figures import Counters
from loggos.coordination.liveness import Liveness
from loggos.coordination.machine import CoordinationMachine, Plain, encode_stat_reply
from loggos.coordination.watches import EVENT_CHILDREN, WatchTable
from loggos.coordination.zookeeper.codec import PERM_READ

logger = logging.getLogger(__name__)

FOUR_LETTER_WORDS: Final = ("ruok", "srvr", "stat", "mntr", "conf", "cons", "dump", "envi", "isro", "wchs", "wchc", "wchp")
ZOOKEEPER_VERSION: Final = "3.8.4"  # whose protocol and texts are followed; monitoring reads it


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """`super_digest`: "user:base64(sha1(user:password))" whose holder may do everything. `environment` and `configuration`:
    what envi and conf show, in order. `standalone`: the cell is this node alone. `observer`: it follows, and has no vote.
    `members`: what /zookeeper/config says. `facts`: what mntr says beyond what is known here, by name."""

    super_digest: bytes | None = None
    words: tuple[str, ...] = FOUR_LETTER_WORDS
    tick_ms: int = SESSION_TICK_MS
    connections_max: int = CONNECTIONS_MAX
    connections_per_address_max: int = CONNECTIONS_PER_ADDRESS_MAX
    watches_per_connection_max: int = WATCHES_PER_CONNECTION_MAX
    held_bytes_max: int = CLIENTS_HELD_BYTES_MAX
    held_pause_bytes: int = CLIENTS_HELD_PAUSE_BYTES
    leaderless_close_ms: int = LEADERLESS_CLOSE_MS
    container_check_ms: int = CONTAINER_CHECK_MS
    version: str = f"{ZOOKEEPER_VERSION}-loggos"
    built_on: str = "1970-01-01 00:00 UTC"
    environment: tuple[tuple[str, str], ...] = ()
    configuration: tuple[tuple[str, str], ...] = ()
    standalone: bool = False
    observer: bool = False
    members: bytes = b""
    facts: Callable[[], Mapping[str, object]] = dict

    @property
    def timeout_ms_min(self) -> int:
        return 2 * self.tick_ms

    @property
    def timeout_ms_max(self) -> int:
        return 20 * self.tick_ms

    @property
    def frame_deadline_ms(self) -> int:
        """From a request's first byte to its last."""
        return max(FRAME_DEADLINE_MS, self.timeout_ms_max)


class Sender(Protocol):
    """Whoever has output queued."""

    def flush(self) -> None:
        """Send what is queued."""
        ...


class Client(Sender, Protocol):
    """A door's connection as the service sees it."""

    session: SessionId
    generation: int
    touched: bool

    def flush_writes(self) -> bool:
        """Hand the gathered writes to the log by `propose`. False: the log is full, try again later."""
        ...

    def answered(self, replies: list[bytes], from_position: int, to_position: int) -> None:
        """Queue the replies of the operations in [from_position, to_position) of the run that is being applied."""
        ...

    def answered_alone(self, reply: bytes) -> None:
        """Both of a run of one operation."""
        ...

    def run_done(self, outcome: Outcome) -> None:
        """All replies of a run are queued: answer the reads that waited for it."""
        ...

    def attached(self, answer: Attached) -> None: ...

    def notify(self, event: int, path: bytes, index: int) -> None: ...

    def has_unknown(self) -> bool:
        """Is a proposal of this client with the log?"""
        ...

    def finish(self) -> None:
        """The session ended: send what is queued, then close."""
        ...

    def close(self, why: str) -> None: ...


class CoordinationService:
    """One per node. `start` after the log exists; then doors may serve."""

    def __init__(
        self,
        log: Log,
        machine: CoordinationMachine,
        clock: Clock,
        entropy: Entropy,
        spawner: Spawner,
        *,
        node: NodeId,
        options: ServiceOptions | None = None,
    ) -> None:
        self.log, self.machine, self.clock, self.entropy, self.node = log, machine, clock, entropy, node
        self.options = options or ServiceOptions()
        self._spawner = spawner
        self.index = log.index
        self.counters = Counters()
        self.budget = self.make_budget()
        self.census = Census(machine)
        self.watches: WatchTable[Client] = WatchTable()
        self.liveness = self.make_liveness()
        self.containers = Containers(log, machine, self.options.container_check_ms)
        self.clients: dict[SessionId, Client] = {}
        self._attaching: dict[int, Client] = {}
        self._held: dict[int, bytes] = {}  # commands of those attaching that wait for a leader
        self._next_nonce = entropy.below(1 << 62)
        self._gathering: list[Client] = []
        self._flush_scheduled = False
        self._stalled: dict[Client, None] = {}
        self._dirty: dict[Sender, None] = {}
        self._leaderless_since_s: float | None = clock.monotonic()
        self.tick_hooks: list[Callable[[float], None]] = []
        self._ticker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def make_liveness(self) -> Liveness:
        return Liveness(self.log, self.machine)

    def make_budget(self) -> Budget:
        return Budget(self.clock, self.options.held_bytes_max, self.options.held_pause_bytes)

    # --- life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Follow the log and begin to tick. Needs the running loop."""
        self._loop = asyncio.get_running_loop()
        self.log.follow(MACHINE_ID, self)
        self.index = self.log.index
        leader = self.log.leader
        self.leader_changed(leader, leader == self.node and leader != NO_NODE)
        self._ticker = self._spawner.spawn(self._tick_forever(), "coordination ticks")

    def stop(self) -> None:
        """Disconnect every client; nothing is told to the log."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.close_all("the node stops")

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_MS / 1000)
            self.tick()

    def tick(self) -> None:
        """Every HEARTBEAT_MS: touches, expiry, empty containers, what could not be proposed, deadlines of doors."""
        now_s = self.clock.monotonic()
        self.liveness.tick(int(now_s * 1000))
        self.containers.tick(int(now_s * 1000), self.liveness.leading)
        self._retry_stalled()
        self.budget.sweep(now_s)
        for hook in self.tick_hooks:
            hook(now_s)
        if not self.serving() and (self.clients or self._attaching):
            self.close_all("no leader is known: this node can serve no session")
        elif self._attaching and not self.admits():
            for client in list(self._attaching.values()):
                client.close("no leader is known: another node may know one")

    def serving(self) -> bool:
        """May this node serve sessions now? For a while it may without a leader, so that an election disturbs nobody."""
        return self._leaderless_ms() < self.options.leaderless_close_ms

    def admits(self) -> bool:
        """May this node take up sessions now? It gives up sooner than for those it has: the client is about to choose a node."""
        patience_ms = self.options.leaderless_close_ms
        if not self.options.standalone:  # there are others to choose from
            patience_ms = min(LEADERLESS_REFUSE_MS, patience_ms)
        return self._leaderless_ms() < patience_ms

    def _leaderless_ms(self) -> float:
        """For how long no leader has been known; 0 while one is."""
        since = self._leaderless_since_s
        return 0.0 if since is None else (self.clock.monotonic() - since) * 1000

    # --- what doors ask for ----------------------------------------------------------------------------------------------

    def attach(self, client: Client, session: SessionId, timeout_ms: int, password: bytes, address: str) -> int:
        """Commit a (re)connect; `client.attached` is called with the answer. Gives the nonce for `forget`. OverloadedError: not
        taken."""
        nonce = self._next_nonce
        self._next_nonce += 1
        low, high = self.options.timeout_ms_min, self.options.timeout_ms_max
        command = encode_attach(session, self.node, nonce, min(max(timeout_ms, low), high), password, address)
        self._attaching[nonce] = client
        if self.log.leader == NO_NODE:
            self._held[nonce] = command
        elif not self.propose(command):
            del self._attaching[nonce]
            raise OverloadedError("the log takes no connect request now")
        return nonce

    def _propose_held(self) -> None:
        held, self._held = self._held, {}
        for nonce, command in held.items():
            if not self.propose(command):
                self._attaching[nonce].close("the log is full")

    def forget(self, client: Client, nonce: int) -> None:
        """The client's connection is gone. Its session lives on until it expires."""
        self._attaching.pop(nonce, None)
        self._held.pop(nonce, None)
        if self.clients.get(client.session) is client:
            del self.clients[client.session]
        self._stalled.pop(client, None)
        self._dirty.pop(client, None)
        self.watches.remove_watcher(client)

    def gathered(self, client: Client) -> None:
        """The client has writes to hand over: once per client and loop turn."""
        self._gathering.append(client)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            assert self._loop is not None, "start() comes first"
            self._loop.call_soon(self._flush_gathered)

    def _flush_gathered(self) -> None:
        self._flush_scheduled = False
        gathering, self._gathering = self._gathering, []
        for client in gathering:
            if not client.flush_writes():
                self._stalled[client] = None

    def _retry_stalled(self) -> None:
        while self._stalled:
            client = next(iter(self._stalled))
            if not client.flush_writes():
                return
            self._stalled.pop(client, None)

    def propose(self, command: bytes) -> bool:
        """False: the log is full, or nobody leads; nothing was taken."""
        if self.log.leader == NO_NODE:
            return False
        try:
            self.log.propose(MACHINE_ID, command)
        except OverloadedError:
            self.counters.overloads += 1
            return False
        return True

    def sync(self, done: Callable[[Index | None], None]) -> None:
        """`done(index)` once this node has applied all that was acknowledged anywhere before now; None: not known."""
        self.log.read_barrier(done)

    def dirty(self, client: Sender) -> None:
        """The client has output queued outside of its own read: sent at the end of the batch."""
        self._dirty[client] = None

    # --- the log's follower ----------------------------------------------------------------------------------------------

    def wants(self, command: bytes) -> bool:
        kind = command[0]
        if kind == REQUESTS:
            _, session, generation, _, _ = REQUESTS_HEADER.unpack_from(command)
            client = self.clients.get(session)
            return client is not None and client.generation == generation
        return kind == ATTACH and ATTACH_HEADER.unpack_from(command)[2] == self.node

    def is_attended(self) -> bool:
        return bool(self.clients or self._attaching)

    def needs_all(self) -> bool:
        return len(self.watches) > 0

    def applied_plainly(self, index: Index, plain: Plain) -> None:
        _, session, xid, _, node = plain
        self.index = index
        client = self.clients.get(session.id)
        if client is not None and client.generation == session.generation:
            client.answered_alone(encode_stat_reply(xid, index, node))

    def applied(self, index: Index, command: bytes, outcome: Outcome) -> None:
        self.index = index
        if outcome.attached is not None:
            self._attached(outcome.attached)
            return
        client = self.clients.get(outcome.session) if outcome.session else None
        if client is not None and client.generation == outcome.generation:
            self._answer(client, outcome)
        elif outcome.events and self.watches:
            self._fire(outcome, None)
        for session in outcome.ended:
            self._ended(session, command[0] == EXPIRE)

    def _answer(self, client: Client, outcome: Outcome) -> None:
        """A run of a client of this node was applied, or refused."""
        if outcome.refused or outcome.replies is None:
            client.close("its session moved to another connection, or is gone")
            return
        position = self._fire(outcome, client) if outcome.events and self.watches else 0
        client.answered(outcome.replies, position, len(outcome.replies))
        client.run_done(outcome)

    def _fire(self, outcome: Outcome, client: Client | None) -> int:
        """Tell watchers; the run's own client gets its replies up to each event's operation first. Gives how many it got."""
        position = 0
        replies = outcome.replies
        for event in outcome.events:
            for watcher, kind, path in self.watches.fire(event.kind, event.path):
                if watcher is client and replies is not None:
                    before = self.replies_before(event)
                    if before > position:
                        client.answered(replies, position, before)
                        position = before
                if self.may_hear(watcher, event, kind):
                    watcher.notify(kind, path, event.index)
        return position

    def may_hear(self, watcher: Client, event: TreeEvent, kind: int) -> bool:
        """May it read the node that the event is about? If not, its watch is used up without a word (CVE-2024-23944)."""
        acl = event.parent_acl if kind == EVENT_CHILDREN else event.acl
        if acl is OPEN_ACL:
            return True
        session = self.machine.sessions.get(SessionId(watcher.session))
        return session is not None and permits(acl, PERM_READ, session.identities)

    def replies_before(self, event: TreeEvent) -> int:
        """How many replies of its run go before an event: those of the operations before the one that caused it."""
        return event.position

    def _attached(self, answer: Attached) -> None:
        """A session has a new connection somewhere: here, or on another node."""
        if answer.session:
            self.liveness.renew(answer.session)
            old = self.clients.get(answer.session)
            if old is not None and old.generation < answer.generation:
                old.close("its session was attached by a newer connection")
        if answer.node != self.node:
            return
        client = self._attaching.pop(answer.nonce, None)
        if client is None:
            return  # it gave up meanwhile; the session will expire
        if answer.session:
            self.clients[answer.session] = client
            if answer.is_new:
                self.counters.sessions_created += 1
            else:
                self.counters.sessions_resumed += 1
        else:
            self.counters.sessions_refused += 1
        client.attached(answer)

    def _ended(self, session: SessionId, is_expired: bool) -> None:
        """Said in the log of events by the node that served it last, and of one that expired by the leader, too."""
        self.counters.sessions_ended += 1
        self.liveness.ended(session)
        client = self.clients.pop(session, None)
        if client is not None or (is_expired and self.liveness.leading):
            logger.info("session expired" if is_expired else "session closed", {"session": f"{session:#x}"})
        if client is not None:
            client.finish()

    def batch_done(self, index: Index) -> None:
        self.index = index
        dirty, self._dirty = self._dirty, {}
        for client in dirty:
            client.flush()
        if self._stalled:
            self._retry_stalled()

    def interrupted(self) -> None:
        self.counters.interruptions += 1
        held = dict.fromkeys(self._attaching[nonce] for nonce in self._held)
        unknown = [client for client in self._all_clients() if self.fate_unknown(client) and client not in held]
        if unknown:
            logger.info("clients disconnected", {"count": len(unknown), "why": "the outcome of their last requests is unknown"})
        for client in unknown:
            client.close("the outcome of its last requests is unknown")

    def fate_unknown(self, client: Client) -> bool:
        """Rule 12: may a proposal of this client be applied, or lost, without us knowing which?"""
        return client.has_unknown()

    def leader_changed(self, leader: NodeId, is_self: bool) -> None:
        if leader != NO_NODE:
            self._leaderless_since_s = None
        elif self._leaderless_since_s is None:
            self._leaderless_since_s = self.clock.monotonic()
        self.liveness.leader_changed(is_self)
        if leader != NO_NODE:
            self._propose_held()
            self._retry_stalled()

    def restored(self) -> None:
        self.index = self.log.index
        self.close_all("this node was brought up to date by a snapshot: events were skipped")

    def peer_note(self, sender: NodeId, note: bytes) -> None:
        self.liveness.heard(sender, note)

    # --- for people ------------------------------------------------------------------------------------------------------

    def close_all(self, why: str) -> None:
        clients = self._all_clients()
        if clients:
            logger.info("clients disconnected", {"count": len(clients), "why": why})
        for client in clients:
            client.close(why)

    def _all_clients(self) -> list[Client]:
        return [*self._attaching.values(), *self.clients.values()]

    @property
    def mode(self) -> str:
        """As srvr says it."""
        if self.options.standalone:
            return "standalone"
        if self.options.observer:
            return "observer"
        return "leader" if self.liveness.leading else "follower"

    def metrics(self) -> dict[str, int | float]:
        """Counters and gauges by name."""
        counters = self.counters
        plain = [one.name for one in fields(counters) if one.type in ("int", "float")]
        values: dict[str, int | float] = {name: getattr(counters, name) for name in plain}
        values.update(counters.requests)
        watches = self.watches.summary()
        values.update(
            sessions=len(self.machine.sessions),
            clients=len(self.clients),
            watches=watches.watches,
            watched_paths=watches.paths,
            znodes=len(self.machine.tree.nodes),
            expiries_proposed=self.liveness.expiries_proposed,
            reaps_proposed=self.containers.reaps_proposed,
            stalls=self.liveness.stalls,
            clients_held_bytes=self.budget.total_bytes,
            clients_held_back=self.budget.held_back,
            clients_evicted=self.budget.evictions,
            index=self.index,
        )
        return values
