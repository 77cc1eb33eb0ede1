"""What a replicated write costs in the interpreter alone: three whole nodes in this process, without a system call per write.

    PYTHONPATH=src python bench/micro_slot.py [--clients 50] [--rounds 7] [--writes 20000]

Network and disk are in memory and answer in the next turn of the loop, so that what is left is our own code: doors, service,
group commit, consensus, journal records, the machines of three nodes. Prints the best of several rounds (noise only adds):
microseconds of CPU time per write and per slot, all three nodes together. What sockets, the disk and the journal's thread cost
comes on top and is seen by `loggos bench coordination`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from loggos.app.bench import wire
from loggos.app.build import Node, start_node
from loggos.base.errors import StorageError
from loggos.base.ports import Buffer, ProtocolFactory
from loggos.coordination.zookeeper import codec
from loggos.host.loop import run, settle_garbage
from loggos.host.world import HostClock, HostEntropy
from loggos.node.config import NodeConfig, Ports

HOST = "127.0.0.1"
VALUE = b"v" * 100


class Pipe(asyncio.Transport):
    """One end of a connection in memory. What is written in a turn arrives at the other end in the next one, joined."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, port: int) -> None:
        super().__init__({"peername": (HOST, port)})
        self._loop, self._protocol = loop, protocol
        self.other: Pipe
        self._written: list[Buffer] = []
        self._closing = False

    def write(self, data: Buffer) -> None:
        self._written.append(data)
        if len(self._written) == 1:
            self._loop.call_soon(self._deliver)

    def writelines(self, chunks: Any) -> None:
        if not self._written:
            self._loop.call_soon(self._deliver)
        self._written.extend(chunks)

    def _deliver(self) -> None:
        written, self._written = self._written, []
        data = written[0] if len(written) == 1 else b"".join(written)
        if not self.other._closing:
            self.other._protocol.data_received(data)  # type: ignore[arg-type]

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self.other.close()

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class MemoryServer:
    def __init__(self, network: MemoryNetwork, port: int) -> None:
        self._network, self.port = network, port

    def close(self) -> None:
        self._network.factories.pop(self.port, None)


class MemoryNetwork:
    """ports.Network, for all nodes of this process."""

    def __init__(self) -> None:
        self.factories: dict[int, ProtocolFactory] = {}

    async def listen(self, host: str, port: int, factory: ProtocolFactory) -> MemoryServer:
        self.factories[port] = factory
        return MemoryServer(self, port)

    async def resolve(self, host: str) -> Sequence[str]:
        return [host]

    async def connect(self, host: str, port: int, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        if port not in self.factories:
            raise ConnectionRefusedError(port)
        loop = asyncio.get_running_loop()
        ours: Any = factory()
        theirs: Any = self.factories[port]()
        near, far = Pipe(loop, ours, port), Pipe(loop, theirs, port)
        near.other, far.other = far, near
        theirs.connection_made(far)
        ours.connection_made(near)
        return near, ours

    async def listen_local(self, path: str, factory: ProtocolFactory) -> MemoryServer:
        raise OSError("no local sockets here")

    async def connect_local(self, path: str, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        raise OSError("no local sockets here")


class MemoryFile:
    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        self.path, self._loop = path, loop
        self.data = bytearray()

    async def size(self) -> int:
        return len(self.data)

    async def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self.data[offset : offset + size_bytes])

    def write_sync(self, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        data = b"".join(chunks)
        self.data[offset : offset + len(data)] = data
        done: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_soon(done.set_result, None)
        return done

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        await self.write_sync(offset, chunks)

    async def sync(self) -> None: ...

    async def close(self) -> None: ...


class MemoryDisk:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.files: dict[str, MemoryFile] = {}

    async def open(self, path: str, *, create: bool = False) -> MemoryFile:
        if create:
            if path in self.files:
                raise StorageError(f"{path} exists")
            self.files[path] = MemoryFile(path, self._loop)
        elif path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    async def list(self, directory: str) -> list[str]:
        head = f"{directory}/" if directory else ""
        return sorted({path[len(head) :].split("/")[0] for path in self.files if path.startswith(head)})

    async def make_directory(self, path: str) -> None: ...

    async def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    async def remove(self, path: str) -> None:
        self.files.pop(path, None)

    async def sync_dir(self, directory: str) -> None: ...

    async def free_bytes(self) -> int:
        return 1 << 40


class Tasks:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.append(task)
        return task


class MemoryWorld:
    def __init__(self, network: MemoryNetwork) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock, self.entropy, self.network, self.spawner = HostClock(), HostEntropy(), network, Tasks()
        self.disk = MemoryDisk(self.loop)

    def descriptors(self) -> None:
        return None


class Writer(asyncio.Protocol):
    """A client that writes one value after another, each when the last is answered."""

    def __init__(self, path: bytes, crowd: Crowd) -> None:
        self._path, self._crowd = path, crowd
        self._transport: asyncio.Transport
        self._steps = [self._make, self._begin]
        body = codec.encode_buffer(path) + codec.encode_buffer(VALUE) + codec.INT32.pack(-1)
        self._frame = codec.encode_request(1, codec.OP_SET_DATA, body)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(wire.connect_request(30_000))

    def _make(self) -> None:
        acl = codec.encode_acl([codec.Acl(codec.PERM_ALL, b"world", b"anyone")])
        body = codec.encode_buffer(self._path) + codec.encode_buffer(VALUE) + acl + codec.INT32.pack(0)
        self._transport.write(codec.encode_request(1, codec.OP_CREATE, body))

    def _begin(self) -> None:
        self._crowd.joined(self)

    def write(self) -> None:
        self._transport.write(self._frame)

    def data_received(self, data: bytes) -> None:
        if self._steps:
            self._steps.pop(0)()
        elif self._crowd.answered():
            self._transport.write(self._frame)

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.failed("a node hung up on a writer: its leader changed, perhaps because the machine is busy; run it again")


class Crowd:
    """The writers of a run: how many writes are left."""

    def __init__(self, writers: int) -> None:
        self._absent = writers
        self.writers: list[Writer] = []
        self.left = 0
        self._in_flight = 0
        self._failure = ""
        self.event = asyncio.Event()

    def joined(self, writer: Writer) -> None:
        self.writers.append(writer)
        self._absent -= 1
        if not self._absent:
            self.event.set()

    def answered(self) -> bool:
        """A write was answered. True: write once more."""
        self.left -= 1
        if self.left >= 0:
            return True
        self._in_flight -= 1
        if not self._in_flight:
            self.event.set()
        return False

    def failed(self, why: str) -> None:
        self._failure = why
        self.event.set()

    async def wait(self) -> None:
        """For the end of what was begun; SystemExit if it cannot come."""
        await self.event.wait()
        if self._failure:
            raise SystemExit(f"micro_slot: {self._failure}")

    async def run(self, writes: int) -> None:
        self.event.clear()
        self.left, self._in_flight = writes, len(self.writers)
        for writer in self.writers:
            writer.write()
        await self.wait()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


async def measure(clients: int, rounds: int, writes: int) -> None:
    network = MemoryNetwork()
    voters = {str(node): f"{HOST}:{100 + node}" for node in (1, 2, 3)}
    nodes: list[Node] = []
    worlds = [MemoryWorld(network) for _ in voters]

    def fatal(error: BaseException) -> None:
        raise error

    async def begin(number: int) -> None:
        config = NodeConfig(id=number, voters=voters, data="", ports=Ports(zookeeper=200 + number))
        nodes.append(await start_node(config, worlds[number - 1], lambda *_, **__: None, fatal))

    await asyncio.gather(*(begin(number) for number in (1, 2, 3)))
    await until(lambda: all(node.serves for node in nodes))
    crowd = Crowd(clients)
    for number in range(clients):
        await network.connect(HOST, 201 + number % 3, lambda number=number: Writer(b"/c%04d" % number, crowd))  # type: ignore[misc]
    await crowd.wait()
    settle_garbage()
    await crowd.run(writes)
    best = (1e9, 0.0)
    for _ in range(rounds):
        first = nodes[0].member.replica.registry.slot  # type: ignore[union-attr]
        began = time.process_time()
        await crowd.run(writes)
        took = time.process_time() - began
        slots = nodes[0].member.replica.registry.slot - first  # type: ignore[union-attr]
        best = min(best, (took / writes * 1e6, took / slots * 1e6))
    print(f"{clients} clients: {best[0]:.2f} us per write, {best[1]:.0f} us per slot ({best[1] / best[0]:.1f} writes each)")
    os._exit(0)  # nodes in memory need no farewell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--writes", type=int, default=20_000)
    options = parser.parse_args()
    run(lambda: measure(options.clients, options.rounds, options.writes))


if __name__ == "__main__":
    main()
