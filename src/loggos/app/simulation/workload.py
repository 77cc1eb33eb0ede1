"""What simulated clients do: a random mix over few paths, so that they collide; each client is a host of its own.

One client only reads. A client keeps one session as long as it can: it pipelines a few requests, moves between
servers, falls silent for a while, ends its session now and then, and begins a new one when the old one has expired.
Another client is always about to lose its session: it acts when the leader is about to let it expire, or just has.
Nothing is retried: what was not answered stays unknown. Everything is drawn from the client's own stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loggos.app.simulation.client import Disconnected, SessionEnded, SimClient
from loggos.check.history import OK, Operation, Request
from loggos.sim.trace import Draws

ROOT: Final = "/w"
KEYS: Final = tuple(f"/w/k{i}" for i in range(6))
QUEUE: Final = "/w/q"
GROUP: Final = "/w/g"
ROOMS: Final = tuple(f"/w/r{i}" for i in range(4))  # containers
ANSWER_TIMEOUT_S: Final = 6.0
BRINK_TIMEOUT_MS: Final = 800
BRINK_S: Final = (-0.02, 0.21)  # around the end of its timeout: leases end in steps, after a touch that was relayed


@dataclass(frozen=True, slots=True)
class Mix:
    """How the workload behaves. Seconds."""

    think_s: float = 0.05
    depth: int = 4  # requests pipelined at most
    silence: float = 0.004  # chance, per round, to fall silent beyond the session's timeout
    move: float = 0.02  # chance to reconnect elsewhere by itself
    close: float = 0.01  # chance to end the session
    session_timeouts_ms: tuple[int, ...] = (1_200, 2_500, 6_000)


class Worker:
    """One client process."""

    def __init__(
        self,
        client: SimClient,
        draws: Draws,
        mix: Mix,
        stopping: Callable[[], bool],
        is_quiet: Callable[[], bool],
        reads_only: bool = False,
    ) -> None:
        self._shares = _READS if reads_only else _SHARES
        self.client, self._draws, self._mix, self._stopping, self._is_quiet = client, draws, mix, stopping, is_quiet
        self._moved = False
        self._written = 0
        self._versions: dict[str, int] = {}
        self._mine: list[str] = []

    async def run(self) -> None:
        while not self._stopping():
            try:
                await self._session()
            except SessionEnded:
                self._versions, self._mine = {}, []
                await asyncio.sleep(self._draws.uniform(0.01, 0.3))
            except Disconnected:
                await asyncio.sleep(self._rest_s())
        self.client.disconnect()

    def _rest_s(self) -> float:
        """Before it connects again."""
        return self._draws.uniform(0.01, 0.3)

    async def _session(self) -> None:
        """One connection's life."""
        if not self.client.session:
            self.client.timeout_ms = self._draws.choice(self._mix.session_timeouts_ms)
        await self.client.connect(self._draws.randrange(len(self.client.servers)))
        if not self._versions:
            for path in (ROOT, QUEUE, GROUP):
                await self.client.do(Request("create", path), ANSWER_TIMEOUT_S)
        while not self._stopping():
            if self._is_quiet():
                await self._keep_alive()
                return
            await self._round()
            if self._draws.chance(self._mix.move):
                raise Disconnected("moves on")
            if self._draws.chance(self._mix.silence):
                await asyncio.sleep(self.client.timeout_ms / 1000 * self._draws.uniform(0.8, 2.0))
            await asyncio.sleep(self._draws.expovariate(1 / self._mix.think_s))

    async def _keep_alive(self) -> None:
        """Nothing but pings, half of the time on a connection of its own. What they keep alive must not expire."""
        if not self._moved and self._draws.chance(0.5):
            self._moved = True
            raise Disconnected("moves on")
        self._moved = True
        session, timeout_s = self.client.session, self.client.timeout_ms / 1000
        began_at = self.client.now()
        try:
            await self._ping_on(timeout_s / 5)
        finally:
            if self.client.last_pong_at > began_at:  # a second after it, what had been proposed against the session is decided
                self.client.kept_alive(session, began_at + 1.0, self.client.last_pong_at + timeout_s / 2)

    async def _ping_on(self, beat_s: float) -> None:
        while not self._stopping():
            self.client.ping()
            sent_at = self.client.now()
            await asyncio.sleep(beat_s)
            if self.client.last_pong_at < sent_at:
                raise Disconnected("a ping was not answered")

    async def _round(self) -> None:
        if self._draws.chance(self._mix.close):
            await self.client.do(Request("close"), ANSWER_TIMEOUT_S)
            self.client.disconnect()
            self.client.forget()
            raise SessionEnded
        futures = [self.client.send(request) for request in self._requests()]
        try:
            for done in await asyncio.wait_for(asyncio.gather(*futures), ANSWER_TIMEOUT_S):
                self._learn(done)
        except TimeoutError:
            self.client.disconnect()
            raise Disconnected("no answer in time") from None

    def _learn(self, done: Operation) -> None:
        reply, request = done.reply, done.request
        if reply is None or reply.code == -112 or reply.code == -118:
            self.client.disconnect()
            raise Disconnected("refused")
        if reply.stat is not None and reply.stat.version is not None:
            self._versions[request.path] = reply.stat.version
        if request.kind == "create" and reply.code == OK and reply.path is not None and reply.path not in KEYS:
            self._mine.append(reply.path)

    # --- requests ------------------------------------------------------------------------------------------------------------

    def _requests(self) -> list[Request]:
        """One round's requests, pipelined; a linearizable read is a sync and a get behind it."""
        draws = self._draws
        requests: list[Request] = []
        kinds, shares = list(self._shares), list(self._shares.values())
        for _ in range(draws.randint(1, self._mix.depth)):
            requests.extend(draws.choices(kinds, shares)[0](self))
        return requests

    def _value(self) -> bytes:
        self._written += 1
        return f"{self.client.process}:{self._written}".encode() + b"." * self._draws.choice([0, 0, 20, 400])

    def _key(self) -> str:
        return self._draws.choice(KEYS)

    def set(self) -> list[Request]:
        return [Request("set", self._key(), self._value())]

    def compare_and_set(self) -> list[Request]:
        path = self._key()
        return [Request("set", path, self._value(), version=self._versions.get(path, 0))]

    def get(self) -> list[Request]:
        return [Request("get", self._key(), watch=self._draws.chance(0.3))]

    def exists(self) -> list[Request]:
        return [Request("exists", self._key(), watch=self._draws.chance(0.3))]

    def fresh_get(self) -> list[Request]:
        path = self._key()
        return [Request("sync", path), Request("get", path, linearizable=False)]

    def create(self) -> list[Request]:
        return [Request("create", self._key(), self._value())]

    def delete(self) -> list[Request]:
        return [Request("delete", self._key())]

    def enqueue(self) -> list[Request]:
        return [Request("create", QUEUE + "/n-", self._value(), sequential=True)]

    def join(self) -> list[Request]:
        return [Request("create", f"{GROUP}/{self.client.process}-", self._value(), ephemeral=True, sequential=True)]

    def visit(self) -> list[Request]:
        """A child of a container, which is made where it is missing: for a moment, or until it is removed."""
        room = self._draws.choice(ROOMS)
        path = f"{room}/{self.client.process}"
        visit = [Request("create", room, container=True), Request("create", path, self._value(), ephemeral=True)]
        return visit if self._draws.chance(0.2) else [*visit, Request("delete", path)]

    def remove(self) -> list[Request]:
        if not self._mine:
            return self.enqueue()
        return [Request("delete", self._mine.pop(self._draws.randrange(len(self._mine))))]

    def children(self) -> list[Request]:
        return [Request("children", self._draws.choice([QUEUE, GROUP, ROOT]), watch=self._draws.chance(0.3))]

    def multi(self) -> list[Request]:
        """Parts of every kind in any order, so that the one that fails has others before it."""
        one, two = self._key(), self._key()
        guard = Request("check", one, version=self._versions.get(one, 0))
        other = self._draws.choice([self.create, self.delete, self.enqueue, self.join, self.set])()
        parts = [guard, Request("set", two, self._value()), Request("set", one, self._value()), *other]
        self._draws.shuffle(parts)
        return [Request("multi", parts=tuple(parts))]

    def add_watch(self) -> list[Request]:
        path = self._draws.choice([ROOT, GROUP, self._key()])
        return [Request("add_watch", path, recursive=self._draws.chance(0.5))]


class Brinkman(Worker):
    """A client that acts at the end of its session's timeout, at a connection that stands or at a new one."""

    async def _session(self) -> None:
        client, draws = self.client, self._draws
        if not client.session:
            client.timeout_ms = BRINK_TIMEOUT_MS
        await client.connect(draws.randrange(len(client.servers)))
        while not self._stopping():
            if self._is_quiet():
                await self._keep_alive()
                return
            await client.do(draws.choice([self.set, self.join, self.set])()[0], ANSWER_TIMEOUT_S)
            if draws.chance(0.2):
                client.disconnect()
            await asyncio.sleep(client.timeout_ms / 1000 + draws.uniform(*BRINK_S))
            if not client.connected:
                raise Disconnected("comes back at the last moment")

    def _rest_s(self) -> float:
        return 0.01


_SHARES: Final = {
    Worker.set: 22,
    Worker.compare_and_set: 12,
    Worker.get: 20,
    Worker.exists: 6,
    Worker.fresh_get: 8,
    Worker.create: 10,
    Worker.delete: 4,
    Worker.enqueue: 4,
    Worker.join: 3,
    Worker.remove: 4,
    Worker.visit: 1,
    Worker.children: 5,
    Worker.multi: 7,
    Worker.add_watch: 0.5,
}
# A client that only reads is not held up by writes that a deposed leader cannot bring through: it would see what is stale.
_READS: Final = {Worker.fresh_get: 5, Worker.get: 3, Worker.exists: 1, Worker.children: 1}
