"""What applying one operation costs, and what a znode weighs: the coordination machine alone, in this process.

    PYTHONPATH=src python bench/micro_apply.py [--nodes 200000]

Prints microseconds of CPU time per operation (the best of several rounds: noise only adds) for runs of 64 requests and of one,
with and without replies, and the bytes per znode, the slices of a snapshot, restore and digest over a tree of --nodes znodes.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Iterator

from loggos.base.ids import NodeId, SessionId, Stamps
from loggos.coordination.commands import encode_attach, encode_requests
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.zookeeper import codec
from loggos.host.loop import settle_garbage

VALUE = b"v" * 100
OPEN = codec.encode_acl([codec.Acl(codec.PERM_ALL, b"world", b"anyone")])
ROUNDS = 7


def set_data(xid: int, path: bytes) -> bytes:
    body = codec.encode_buffer(path) + codec.encode_buffer(VALUE) + codec.INT32.pack(-1)
    return codec.encode_request(xid, codec.OP_SET_DATA, body)


def create(xid: int, path: bytes, flags: int = 0) -> bytes:
    body = codec.encode_buffer(path) + codec.encode_buffer(VALUE) + OPEN + codec.INT32.pack(flags)
    return codec.encode_request(xid, codec.OP_CREATE, body)


def delete(xid: int, path: bytes) -> bytes:
    return codec.encode_request(xid, codec.OP_DELETE, codec.encode_buffer(path) + codec.INT32.pack(-1))


class Bench:
    """A machine with one session, and the numbers its commands need."""

    def __init__(self) -> None:
        self.machine = CoordinationMachine()
        self.index, self.sequence = 1, 1
        command = encode_attach(SessionId(0), NodeId(1), 1, 10_000, b"p" * 16, "127.0.0.1")
        attached = self.machine.apply(1, Stamps(1, 1), command, True).attached
        assert attached is not None
        self.session = attached.session

    def commands(self, frames: list[bytes], size: int) -> list[bytes]:
        """The frames as commands of `size` each."""
        commands = []
        for at in range(0, len(frames), size):
            run = frames[at : at + size]
            commands.append(encode_requests(self.session, 1, self.sequence, run))
            self.sequence += len(run)
        return commands

    def apply(self, commands: list[bytes], answer: bool) -> float:
        """Seconds that applying them took. Every operation must succeed."""
        apply, stamps = self.machine.apply, Stamps(1_700_000_000_000 + self.index, 1)
        began = time.process_time()
        for command in commands:
            outcome = apply(self.index + 1, stamps, command, answer)
            self.index += len(outcome.codes)
            assert not any(outcome.codes) and outcome.codes, outcome
        return time.process_time() - began


def measure_operations() -> None:
    bench = Bench()
    paths = [b"/bench/node-%06d" % number for number in range(10_000)]
    bench.apply(bench.commands([create(1, b"/bench"), *(create(1, path) for path in paths)], 64), False)
    print(f"{'operation':<12}{'per command':>12}{'replies':>9}{'us/op':>9}")
    for name, make in (("setData", set_data), ("create", create), ("delete", delete)):
        for size in (64, 1):
            for answer in (False, True):
                best = min(round_of(bench, name, make, paths, size, answer) for _ in range(ROUNDS))
                print(f"{name:<12}{size:>12}{'yes' if answer else 'no':>9}{best:>9.2f}")


def round_of(bench: Bench, name: str, make: object, paths: list[bytes], size: int, answer: bool) -> float:
    """Microseconds per operation over all paths; the tree is left as it was."""
    assert callable(make)
    every = 64
    if name == "create":
        bench.apply(bench.commands([delete(1, path) for path in paths], every), False)
    took = bench.apply(bench.commands([make(7, path) for path in paths], size), answer)
    if name == "delete":
        bench.apply(bench.commands([create(1, path) for path in paths], every), False)
    return took * 1e6 / len(paths)


def slice_times(chunks: Iterator[bytes]) -> tuple[list[bytes], list[float]]:
    slices: list[bytes] = []
    times: list[float] = []
    while True:
        began = time.process_time()
        chunk = next(chunks, None)
        if chunk is None:
            return slices, times
        times.append(time.process_time() - began)
        slices.append(chunk)


def step_times(machine: CoordinationMachine, slices: list[bytes]) -> list[float]:
    """Seconds of each step of a restore, the last one among them that puts the state in its place."""
    steps = machine.restoring(slices)
    times: list[float] = []
    while True:
        began = time.process_time()
        try:
            next(steps)
        except StopIteration as stop:
            stop.value()
            return [*times, time.process_time() - began]
        times.append(time.process_time() - began)


def grow(nodes: int) -> Bench:
    """A machine with that many znodes, about 1,000 below each parent; every command of the log has its own time stamp."""
    bench = Bench()
    tops = nodes // 1000 + 1
    bench.apply(bench.commands([create(1, b"/d%04d" % top) for top in range(tops)], 64), False)
    for first in range(0, nodes, 1000):
        names = range(first, min(nodes, first + 1000))
        bench.apply(bench.commands([create(1, b"/d%04d/node-%09d" % (number % tops, number)) for number in names], 1000), False)
    return bench


def measure_memory(nodes: int) -> None:
    tracemalloc.start()
    bench = grow(nodes)
    gc.collect()
    print(f"{tracemalloc.get_traced_memory()[0] / nodes:.0f} bytes per znode ({nodes} znodes, 100-byte values, 21-byte paths)")
    tracemalloc.stop()
    del bench


def measure_snapshot(nodes: int) -> None:
    bench = grow(nodes)
    gc.collect()
    gc.freeze()
    slices, times = slice_times(bench.machine.snapshot())
    total = sum(map(len, slices))
    print(f"snapshot: {total / 1e6:.1f} MB in {len(slices)} slices, {sum(times):.2f} s; longest slice {max(times) * 1e3:.2f} ms")
    began = time.process_time()
    digest = bench.machine.digest()
    print(f"digest: {time.process_time() - began:.2f} s")
    other = CoordinationMachine()
    settle_garbage()  # as a node does
    times = step_times(other, slices)
    print(f"restore: {sum(times):.2f} s in {len(times)} steps; longest step {max(times) * 1e3:.2f} ms")
    assert other.digest() == digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200_000)
    nodes = parser.parse_args().nodes
    measure_operations()
    measure_memory(nodes)
    measure_snapshot(nodes)


if __name__ == "__main__":
    main()
