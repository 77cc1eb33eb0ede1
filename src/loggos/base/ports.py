"""The ports: what the code above needs of the world, as small protocols with two implementations, `host` and `sim`.

Rules for every implementation (one conformance suite, tests/ports/, runs on both):
- Disk: a write is durable only once its `write_sync` completed; a file's name only once `sync_dir` of its folder completed.
  A failed write or sync raises StorageError for good: no later success on that file may be believed.
- Network: connections are asyncio transports and protocols; delivery is in order or the connection breaks.
- Clock: `monotonic` never goes back and is only for intervals; `wall_ms` may jump and is never used for safety.

The ports know nothing of Paxos, of files' contents or of any service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from loggos.base.ids import Index, NodeId

Buffer = bytes | bytearray | memoryview
ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Clock(Protocol):
    """Time. Seconds as float for intervals, milliseconds since 1970 as int for people."""

    def monotonic(self) -> float: ...

    def wall_ms(self) -> int: ...


class Entropy(Protocol):
    """Randomness: unpredictable in production, drawn from the seed in simulation."""

    def token(self, size_bytes: int) -> bytes: ...

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound)."""
        ...


class File(Protocol):
    """One open file. Offsets and sizes in bytes. Every method runs off the event loop and raises StorageError or
    OutOfSpaceError."""

    path: str

    async def size(self) -> int: ...

    async def read(self, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` from `offset`; shorter only at the end of the file."""
        ...

    def write_sync(self, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        """Write the chunks one after another from `offset`, then fdatasync; done when all is durable. The hot path: one call
        per journal batch. Starts at once, in call order per Disk (not when awaited). The chunks must not change until done."""
        ...

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        """Write without syncing: durable only after a later `sync` (snapshots in the making)."""
        ...

    async def sync(self) -> None: ...

    async def close(self) -> None: ...


class Disk(Protocol):
    """One node's data directory. Paths are relative to it, with '/' between parts."""

    async def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing. `create`: make it, empty (StorageError if it exists). Else FileNotFoundError
        if absent."""
        ...

    async def list(self, directory: str) -> list[str]:
        """Names in a directory, sorted; empty if the directory does not exist."""
        ...

    async def make_directory(self, path: str) -> None:
        """Create it and its parents, if absent. The name is durable after `sync_dir` of its parent."""
        ...

    async def rename(self, old: str, new: str) -> None:
        """Atomically, replacing `new`. Durable after `sync_dir`."""
        ...

    async def remove(self, path: str) -> None: ...

    async def sync_dir(self, directory: str) -> None:
        """Make the entries of a directory durable. '' is the data directory itself."""
        ...

    async def free_bytes(self) -> int: ...


class Server(Protocol):
    """A listening end point."""

    port: int

    def close(self) -> None: ...


class Network(Protocol):
    """TCP, where addresses are (host, port); and local sockets between processes of one machine and one user, where an
    address is a path."""

    async def listen(self, host: str, port: int, factory: ProtocolFactory) -> Server:
        """Serve `factory` protocols; port 0 picks a free one. OSError when the port is taken."""
        ...

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses behind a name, in the order to try them; an address is its own. OSError when nobody knows the name. It
        may take long where it has to be asked for."""
        ...

    async def connect(self, host: str, port: int, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """OSError (or asyncio.TimeoutError) when it cannot."""
        ...

    async def listen_local(self, path: str, factory: ProtocolFactory) -> Server:
        """Serve `factory` protocols to processes of this machine and user; the server's port means nothing. What a dead
        process left at `path` is replaced. OSError when a living one serves there, or the path is too long for a socket
        (about 100 bytes)."""
        ...

    async def connect_local(self, path: str, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """OSError when nobody serves at `path`."""
        ...


class Spawner(Protocol):
    """Starts supervised tasks: one that dies of an error is reported and stops the node, so nothing dies in silence."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]: ...


class World(Protocol):
    """All ports of one node, as the composition root hands them over."""

    clock: Clock
    entropy: Entropy
    disk: Disk
    network: Network
    spawner: Spawner

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def descriptors(self) -> tuple[int, int] | None:
        """File descriptors that this process has open, and how many it may have; None where it has none of its own."""
        ...


class Follower(Protocol):
    """What a service is told by the log. All calls come from the loop, in log order, and must return quickly."""

    def wants(self, command: bytes) -> bool:
        """Does a client of this node wait for the command's replies? Then the machine is asked to encode them."""
        ...

    def is_attended(self) -> bool:
        """Does anybody at this node wait for what the log says: a client, a watch? Asked now and then; if not, this node may hear
        a little later of what is chosen."""
        ...

    def needs_all(self) -> bool:
        """Must it be told of every command, by `applied`? If not, it is not told of other nodes' commands of the plainest kind
        that succeeded, and of its own by `applied_plainly`. Asked anew whenever it was told something."""
        ...

    def applied_plainly(self, index: Index, plain: Any) -> None:
        """A command of this node was of the plainest kind and succeeded; `plain` is what the machine says of it."""
        ...

    def applied(self, index: Index, command: bytes, outcome: Any) -> None:
        """A command of this service's machine was applied; its operations took the indices up to `index`. `outcome` is
        what the machine returned."""
        ...

    def batch_done(self, index: Index) -> None:
        """The log's batch is applied as a whole: flush what `applied` gathered."""
        ...

    def interrupted(self) -> None:
        """The fate of every proposal handed over before now and not yet seen in `applied` is unknown (rule 12). It may still
        be applied later; it is never sent again."""
        ...

    def leader_changed(self, leader: NodeId, is_self: bool) -> None:
        """`leader` (0: none) now leads, as far as this node knows."""
        ...

    def restored(self) -> None:
        """The machine's state was replaced by a snapshot: indices were skipped, and events with them."""
        ...

    def peer_note(self, sender: NodeId, note: bytes) -> None:
        """A note that this service's twin on another node sent with `Log.tell` (at most once, unordered with the log)."""
        ...


class Log(Protocol):
    """The replicated log as a service sees it; the same in one process and across a local socket."""

    def propose(self, machine: int, command: bytes) -> None:
        """Hand a command to the log, in order with this node's earlier ones. Nothing is returned: the outcome is seen in
        `applied`, or the follower is `interrupted`. OverloadedError: nothing was taken."""
        ...

    def follow(self, machine: int, follower: Follower) -> None: ...

    def tell(self, node: NodeId, machine: int, note: bytes) -> None:
        """Send a note to this service's twin on another node (or this one), outside the log; it may be lost."""
        ...

    @property
    def index(self) -> Index:
        """The last applied index on this node."""
        ...

    @property
    def level(self) -> int:
        """The feature level in force (rule 15); it never falls. A command that came with a newer one must not be proposed yet."""
        ...

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows; 0 for none."""
        ...

    @property
    def cell_ms(self) -> int:
        """The log's own clock now (rule 14): on the leader, what the next batch would be stamped with; elsewhere the
        last applied."""
        ...

    def read_barrier(self, done: Callable[[Index | None], None]) -> None:
        """Calls `done(index)` once this node has applied everything that was acknowledged anywhere before the call
        (linearizable reads, `sync`); `done(None)` when that could not be learned in time. One quorum round serves all
        barriers of a loop turn (rule 8)."""
        ...
