"""The ZooKeeper front door: a listening end point and the connections behind it.

It admits connections within the limits, where the oldest that has said nothing makes room for the newest, closes those that
do not introduce themselves in time, do not end a request that they began or do not take their last bytes, and knows them all for
the four-letter words. Must not know: requests, the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

from loggos.base.limits import CONNECT_DEADLINE_MS, SILENT_LOOKED_AT_MAX
from loggos.base.ports import Network, Server
from loggos.coordination.service import CoordinationService
from loggos.coordination.zookeeper.connection import Connection
from loggos.coordination.zookeeper.output import HELLO, NO_EVENT, REFUSED, Output


class ZooKeeperDoor:
    """`listen` as often as there are addresses; `factory` for protocols on other transports. `refused()` is told of each
    connection for which there is no room."""

    def __init__(self, service: CoordinationService, refused: Callable[[], None] = lambda: None) -> None:
        self.service = service
        self._refused = refused
        self.connections: dict[Connection, None] = {}
        self.port = 0
        self.started_s = service.clock.monotonic()
        self._by_address: dict[str, int] = {}
        self._servers: list[Server] = []
        # when to give up on whom: all entries wait for the same time, so the first is due first
        self._introducing: dict[Output, float] = {}
        self._lingering: dict[Output, float] = {}
        self._begun: dict[Output, float] = {}  # a request that is not whole yet
        service.tick_hooks.append(self.sweep)

    async def listen(self, network: Network, host: str, port: int) -> Server:
        """Serve on an address; port 0 picks a free one. OSError when the port is taken."""
        server = await network.listen(host, port, self.factory)
        self._servers.append(server)
        self.port = self.port or server.port
        return server

    def factory(self) -> Connection:
        return Connection(self)

    def close(self) -> None:
        """Stop listening, and disconnect everyone."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self.connections):
            connection.close("the node stops", event=NO_EVENT)

    def loop_soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def loop_later(self, seconds: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, callback)

    def outstanding(self) -> int:
        """Requests of all connections that were taken and not answered yet."""
        return sum(connection.outstanding for connection in self.connections)

    # --- connections come and go -----------------------------------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """Count a new connection. False: over a limit."""
        options = self.service.options
        here = self._by_address.get(connection.address, 0)
        self.connections[connection] = None
        self._by_address[connection.address] = here + 1
        is_crowded = here >= options.connections_per_address_max
        if is_crowded or len(self.connections) > options.connections_max:
            self.service.counters.connections_refused += 1
            self._refused()
            if not self._gives_way(connection.address if is_crowded else None):
                return False
        self.service.counters.connections_accepted += 1
        self._introducing[connection] = self._deadline_s()
        return True

    def _gives_way(self, address: str | None) -> bool:
        """Close the connection that has been silent for longest, from `address` if that is told: whoever connects only to be
        silent keeps nobody out. It is not looked for far behind those that wait for a session."""
        for oldest in islice(self._introducing, SILENT_LOOKED_AT_MAX):
            if oldest.state == HELLO and address in (None, oldest.address):
                assert isinstance(oldest, Connection)
                oldest.close("it said nothing, and others need its place", abort=True)
                self.dismiss(oldest)
                return True
        return False

    def dismiss(self, connection: Connection) -> None:
        """The socket is closed."""
        if connection not in self.connections:
            return
        del self.connections[connection]
        self._introducing.pop(connection, None)
        self._lingering.pop(connection, None)
        self._begun.pop(connection, None)
        self.service.budget.forget(connection)
        left = self._by_address[connection.address] - 1
        if left:
            self._by_address[connection.address] = left
        else:
            del self._by_address[connection.address]

    def greeted(self, connection: Output) -> None:
        """The connection has its session, or knows that it has none: its deadline is void."""
        self._introducing.pop(connection, None)

    def linger(self, connection: Output) -> None:
        """The connection is closed on our side; its client has some time to take what was sent."""
        self._introducing.pop(connection, None)
        self._lingering[connection] = self._deadline_s()

    def begun(self, connection: Output) -> None:
        """A request's first bytes are there: the others must follow in time."""
        self._begun[connection] = self.service.clock.monotonic() + self.service.options.frame_deadline_ms / 1000

    def whole(self, connection: Output) -> None:
        """The request that was begun is whole, or nobody waits for it any more."""
        self._begun.pop(connection, None)

    def goes_on(self, connection: Output) -> None:
        """The connection was not read from, and is again: its client cannot help what time was lost."""
        if self._begun.pop(connection, None) is not None:
            self.begun(connection)

    def _deadline_s(self) -> float:
        return self.service.clock.monotonic() + CONNECT_DEADLINE_MS / 1000

    def sweep(self, now_s: float) -> None:
        """Give up on connections whose deadline has passed."""
        for connection in self._due(self._introducing, now_s):
            connection.close("no session within the deadline", abort=True, event=REFUSED)
        for connection in self._due(self._lingering, now_s):
            connection.abort()
        for connection in self._due(self._begun, now_s):
            if connection.is_held_up():
                self.begun(connection)
            else:
                connection.close("a request that was begun did not end within the deadline", abort=True)

    def _due(self, waiting: dict[Output, float], now_s: float) -> list[Output]:
        due = []
        for connection, deadline_s in waiting.items():
            if deadline_s > now_s:
                break
            due.append(connection)
        for connection in due:
            waiting.pop(connection, None)
        return due
