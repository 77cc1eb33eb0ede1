"""One client's connection: bytes in, runs of writes and answered reads out, everything in the order of the requests.

Rules:
- Write requests are copied verbatim out of what arrived and gathered over a loop turn into one command per run; nothing is
  made per frame.
- A read is answered at once unless this session has writes (or reads that wait for them) before it: then it waits for those,
  and for nothing else. A write behind a waiting read begins a new command, so that the read is answered between the two.
- A write behind a sync, or a count of many nodes, that is not done yet is not taken from the input until it is.
- Output is queued in the order in which it must be seen and leaves in one write per loop turn.
- Everything is bounded: frames before they are kept, unanswered requests, waiting reads, unread output; and all of it together
  for all clients of the node. What is no request of the protocol closes the connection, and harms no other.

Must not know: the tree, the log beyond the service. Source: NIOServerCnxn.java, CommitProcessor.java of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from loggos.base.errors import FrameError
from loggos.base.ids import Index
from loggos.base.limits import (
    CLIENT_EARLY_BYTES_MAX,
    CLIENT_OUTPUT_COUNT_BYTES,
    CLIENT_OUTPUT_PAUSE_BYTES,
    CLIENT_PIPELINE_BYTES_MAX,
    CLIENT_PIPELINE_MAX,
    CLIENT_WAITING_READS_MAX,
    COMMAND_BYTES_MAX,
    JUTE_FRAME_BYTES_MAX,
    REQUESTS_PER_COMMAND_MAX,
)
from loggos.coordination.commands import REQUESTS_HEADER, Outcome, encode_lone, encode_run
from loggos.coordination.zookeeper import requests
from loggos.coordination.zookeeper.codec import (
    INT32,
    OP_AUTH,
    OP_CLOSE_SESSION,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_SYNC,
    REQUEST_HEAD,
    WRITE_OPS,
    encode_auth,
)
from loggos.coordination.zookeeper.greeting import Greeting
from loggos.coordination.zookeeper.output import (
    ATTACHING,
    BLOCKED,
    CLOSED,
    ENDING,
    HELLO,
    LIVE,
    LOG_FULL,
    NO_EVENT,
    PIPELINE,
    REFUSED,
)

if TYPE_CHECKING:
    from loggos.coordination.zookeeper.server import ZooKeeperDoor

PLAIN_WRITES: Final = WRITE_OPS - {OP_AUTH, OP_CLOSE_SESSION}
NEVER_S: Final = float("inf")
RUN_BYTES_MAX: Final = COMMAND_BYTES_MAX - REQUESTS_HEADER.size
assert RUN_BYTES_MAX >= 4 + JUTE_FRAME_BYTES_MAX, "every legal frame fits a command"


class Waiting:
    """A request that is answered after the session's write of sequence `after`."""

    __slots__ = ("after", "arrived_s", "done", "failed", "frame", "opcode", "reply", "xid")

    def __init__(self, after: int, opcode: int, xid: int, frame: bytes, arrived_s: float, done: bool) -> None:
        self.after, self.opcode, self.xid, self.frame, self.arrived_s = after, opcode, xid, frame, arrived_s
        self.done = done  # False: a sync whose barrier is not met yet, or a count that goes on
        self.failed = False
        self.reply: bytes | None = None  # of a count


class Connection(Greeting):
    """An asyncio protocol; a `Client` of the service."""

    __slots__ = (
        "_chunks",
        "_gathering",
        "_in_flight",
        "_muted",
        "_pending_bytes",
        "_run_bytes",
        "_run_count",
        "_sealed",
        "_waiting",
        "answered_to",
        "last_opcode",
        "last_xid",
        "latency_last_s",
        "latency_max_s",
        "latency_min_s",
        "latency_total_s",
        "received",
        "sequence",
        "syncs",
    )

    def __init__(self, door: ZooKeeperDoor) -> None:
        super().__init__(door)
        # writes: gathered into a run, sealed as commands, in flight with the log
        self._chunks: list[bytes] = []
        self._run_count = 0
        self._run_bytes = 0
        self._gathering = False
        self._sealed: deque[tuple[bytes, int, float]] = deque()  # command, last sequence, when
        self._in_flight: deque[tuple[int, int, float]] = deque()  # last sequence, command bytes, when
        self._pending_bytes = 0
        self.sequence = 0  # of the last write taken from the input
        self.answered_to = 0  # of the last write whose reply is queued
        self._muted: list[int] = []  # writes of our own making: their replies are not sent
        # reads that wait for writes
        self._waiting: list[Waiting] = []
        self.syncs = 0
        # for people
        self.received = 0
        self.last_opcode = self.last_xid = 0
        self.latency_last_s = self.latency_total_s = self.latency_max_s = 0.0
        self.latency_min_s = NEVER_S

    # --- the transport -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) >= 2:
            self.address, self.port = str(peer[0]), int(peer[1])
        self.established_ms = self.service.clock.wall_ms()
        self.transport.set_write_buffer_limits(high=CLIENT_OUTPUT_COUNT_BYTES)
        if not self.door.admit(self):
            self.close("too many connections", event=REFUSED)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state in (LIVE, ENDING):
            self.flush_writes()  # what it asked for last, the end of its session perhaps, is still done if anybody leads
        self.release("the client is gone", NO_EVENT)
        self.door.dismiss(self)

    # --- input -------------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.counters.bytes_received += len(data)
        if self._held or self._blocked:
            if self._keep_more(data):
                self._touch()
                if self.state == ATTACHING and len(self._held) > CLIENT_EARLY_BYTES_MAX:
                    self.pause(BLOCKED)
                return
            data = self._release_held()
        if self.state == LIVE:
            if not self.touched:
                self._touch()
            if self.sequence != self.answered_to or len(data) < 12 or not self._take_alone(data):
                self._scan(data)
        elif self.state == HELLO:
            self._hello(data)

    # --- requests --------------------------------------------------------------------------------------------------------

    def _scan(self, data: bytes) -> None:
        """Take every whole request. The hot loop: writes are only counted here, and copied as a run."""
        head = REQUEST_HEAD.unpack_from
        size = len(data)
        at = run_at = count = 0
        opcode = xid = 0
        while size - at >= 12:
            length, xid, opcode = head(data, at)
            after = at + 4 + length
            if not 8 <= length <= JUTE_FRAME_BYTES_MAX:
                self._bad_input(f"a request of {length} bytes")
                return
            if after > size:
                break
            if opcode in PLAIN_WRITES and not self.syncs:
                if count and (after - run_at > RUN_BYTES_MAX or count >= REQUESTS_PER_COMMAND_MAX):
                    self._take(data[run_at:at], count)
                    run_at, count = at, 0
                count += 1
                at = after
                continue
            if count:
                self._take(data[run_at:at], count)
                count = 0
            if not self._request(opcode, xid, data[at:after]):
                run_at = at
                break
            at = run_at = after
        if count:
            self._take(data[run_at:at], count)
        self.last_opcode, self.last_xid = opcode, xid
        self._scanned(data, at)

    def _take_alone(self, data: bytes) -> bool:
        """One whole write of a client that waits for nothing: what clients without a pipeline send, handed to the log at once.
        False: it is anything else, and nothing was done."""
        length, xid, opcode = REQUEST_HEAD.unpack_from(data)
        if length != len(data) - 4 or opcode not in PLAIN_WRITES or length > JUTE_FRAME_BYTES_MAX or self._waiting:
            return False
        assert not self._run_count and not self._sealed, "what is gathered waits for nothing"
        self.last_opcode, self.last_xid = opcode, xid
        self.sequence += 1
        self.received += 1
        counters = self.counters
        counters.writes += 1
        counters.packets_received += 1
        command = encode_lone(self.session, self.generation, self.sequence, data)
        now_s = self.service.clock.monotonic()
        self._pending_bytes += len(command)
        self._in_flight.append((self.sequence, len(command), now_s))
        if not self.service.propose(command):
            self._in_flight.pop()
            self._sealed.append((command, self.sequence, now_s))
            self._gather()
        return True

    def _scanned(self, data: bytes, at: int) -> None:
        """What has been taken is under way; keep the rest, and send what could be answered."""
        if self.state == LIVE:
            left = len(data) - at
            if left:
                if 4 <= left < 12 and not 8 <= INT32.unpack_from(data, at)[0] <= JUTE_FRAME_BYTES_MAX:
                    self._bad_input("a request's length is impossible")
                    return
                self._keep(data, at)
            if self._waiting:
                self.service.budget.count(self)
            if self.sequence - self.answered_to > CLIENT_PIPELINE_MAX or self._pending_bytes > CLIENT_PIPELINE_BYTES_MAX:
                self.pause(PIPELINE)
        if self.out:
            self.flush()

    def _request(self, opcode: int, xid: int, frame: bytes) -> bool:
        """A request that is no plain write. False: it cannot be taken now (then the input is blocked) or no further one may
        be."""
        if opcode in WRITE_OPS:
            if self.syncs:
                self._block()
                return False
            return self._special_write(opcode, xid, frame)
        if self.choked or len(self._waiting) >= CLIENT_WAITING_READS_MAX:
            self._block()
            return False
        self.received += 1
        self.counters.packets_received += 1
        requests_by_class = self.counters.requests
        requests_by_class[requests.CLASS_OF.get(opcode, requests.OTHER)] += 1
        if opcode == OP_SYNC:
            self._sync(xid, frame)
        elif opcode == OP_GET_ALL_CHILDREN_NUMBER:
            self._wait(opcode, xid, frame)
            self.syncs += 1
            self._drain()
        elif self.must_wait():
            self._wait(opcode, xid, frame)
        else:
            self.counters.latency_count += 1
            self.counters.latency_min_s = self.latency_min_s = 0.0
            self._answer(opcode, xid, frame)
        return self.state == LIVE

    def must_wait(self) -> bool:
        """Are there writes of this session, or reads waiting for them, before the next read?"""
        return self.sequence != self.answered_to or bool(self._waiting)

    def _answer(self, opcode: int, xid: int, frame: bytes) -> None:
        """Answer a read now and queue the reply; a long one leaves at once, so that we notice who does not read."""
        reply = requests.answer(self, opcode, xid, frame)
        self.out.append(reply)
        self.out_bytes += len(reply)
        if self.out_bytes > CLIENT_OUTPUT_PAUSE_BYTES:
            self.flush()

    def _wait(self, opcode: int, xid: int, frame: bytes, *, done: bool = True) -> Waiting:
        """Queue a read behind the writes before it; the next write begins a new run."""
        if self._run_count:
            self._seal()
        waiting = Waiting(self.sequence, opcode, xid, frame, self.service.clock.monotonic(), done)
        self._waiting.append(waiting)
        self._pending_bytes += len(frame)
        return waiting

    def _drain(self) -> None:
        """Answer the waiting reads whose turn has come."""
        waiting = self._waiting
        while waiting and waiting[0].after <= self.answered_to and waiting[0].done:
            first = waiting[0]
            if first.opcode == OP_GET_ALL_CHILDREN_NUMBER and first.reply is None:
                self._count(first)
                continue
            waiting.pop(0)
            self._pending_bytes -= len(first.frame)
            self._measure(first.arrived_s, 1)
            if first.failed:
                self.queue(requests.sync_failed(self, first.xid, first.frame))
            elif first.reply is not None:
                self.syncs -= 1
                self.queue(first.reply)
            else:
                self._answer(first.opcode, first.xid, first.frame)
            if self.state >= CLOSED:
                return
            if not waiting:
                self.service.budget.count(self)
        if self._blocked:
            self.unblock()

    def _count(self, waiting: Waiting) -> None:
        """It is its turn; until it is done, writes behind it wait as behind a sync."""

        def later(reply: bytes) -> None:
            waiting.reply, waiting.done = reply, True
            self._drain()
            self.flush()

        waiting.reply = requests.answer_or_later(self, waiting.xid, waiting.frame, later, lambda: self.state < CLOSED)
        waiting.done = waiting.reply is not None

    def _sync(self, xid: int, frame: bytes) -> None:
        waiting = self._wait(OP_SYNC, xid, frame, done=False)
        self.syncs += 1

        def met(index: Index | None) -> None:
            waiting.done, waiting.failed = True, index is None
            self.syncs -= 1
            if self.state < CLOSED:
                self._drain()
                self.flush()

        self.service.sync(met)

    # --- writes ----------------------------------------------------------------------------------------------------------

    def _special_write(self, opcode: int, xid: int, frame: bytes) -> bool:
        """Authentication, whose secret must not reach the log, and the end of the session, after which nothing is read."""
        if opcode == OP_CLOSE_SESSION:
            self._take(frame, 1)
            self.state = ENDING
            return False
        self.counters.requests["auths"] += 1
        try:
            ids = requests.proved_ids(frame, self.address, self.service.options.super_digest)
        except FrameError:
            ids = []
        if not ids:
            self.received += 1
            if self.must_wait():
                self._wait(opcode, xid, frame)
                self.state = ENDING
            else:
                self._answer(opcode, xid, frame)
            return False
        for number, (scheme, identity) in enumerate(ids):
            self._take(encode_auth(xid, scheme, identity), 1)
            if number:
                self._muted.append(self.sequence)
        return True

    def _take(self, chunk: bytes, count: int) -> None:
        """Writes are taken from the input: they will be in a command of this loop turn."""
        if self._run_count and (
            self._run_bytes + len(chunk) > RUN_BYTES_MAX or self._run_count + count > REQUESTS_PER_COMMAND_MAX
        ):
            self._seal()
        self._chunks.append(chunk)
        self._run_count += count
        self._run_bytes += len(chunk)
        self.sequence += count
        self.received += count
        counters = self.counters
        counters.writes += count
        counters.packets_received += count
        self._gather()

    def _gather(self) -> None:
        """Have the service call `flush_writes` at the end of this turn."""
        if not self._gathering:
            self._gathering = True
            self.service.gathered(self)

    def _seal(self) -> None:
        """Close the run that is being gathered: one command."""
        count = self._run_count
        command = encode_run(self.session, self.generation, self.sequence - count + 1, count, self._chunks)
        self._sealed.append((command, self.sequence, self.service.clock.monotonic()))
        self._pending_bytes += len(command)
        self._chunks = []
        self._run_count = self._run_bytes = 0

    def flush_writes(self) -> bool:
        self._gathering = False
        if self.state >= CLOSED:
            return True
        if self._run_count:
            self._seal()
        sealed, propose = self._sealed, self.service.propose
        while sealed:
            command, last, when_s = first = sealed.popleft()
            self._in_flight.append((last, len(command), when_s))
            if not propose(command):
                self._in_flight.pop()
                sealed.appendleft(first)
                self.pause(LOG_FULL)
                self.service.budget.count(self)
                return False
        if self._paused and self.is_paused(LOG_FULL):
            self.resume(LOG_FULL)
            self.service.budget.count(self)
        return True

    def has_unknown(self) -> bool:
        return bool(self._in_flight) or self.state == ATTACHING

    def answered(self, replies: list[bytes], from_position: int, to_position: int) -> None:
        if self._muted:
            self._answered_but_muted(replies, from_position, to_position)
        elif to_position - from_position == len(replies):
            self.out += replies
        else:
            self.out += replies[from_position:to_position]
        self.answered_to += to_position - from_position
        if not self._dirty:
            self._dirty = True
            self.service.dirty(self)

    def _answered_but_muted(self, replies: list[bytes], from_position: int, to_position: int) -> None:
        sequence = self.answered_to
        for position in range(from_position, to_position):
            sequence += 1
            if sequence in self._muted:
                self._muted.remove(sequence)
            else:
                self.out.append(replies[position])

    def answered_alone(self, reply: bytes) -> None:
        if self._muted:
            self._answered_but_muted([reply], 0, 1)
        else:
            self.out.append(reply)
        self.answered_to += 1
        if not self._dirty:
            self._dirty = True
            self.service.dirty(self)
        self._run_done(1)

    def run_done(self, outcome: Outcome) -> None:
        self._run_done(len(outcome.codes))

    def _run_done(self, count: int) -> None:
        last, size, when_s = self._in_flight.popleft()
        assert last == self.answered_to, (last, self.answered_to)
        self._pending_bytes -= size
        self._measure(when_s, count)
        if self._waiting:
            self._drain()
        elif self._blocked:
            self.unblock()
        if self._paused and self.is_paused(PIPELINE) and self._is_half_answered():
            self.resume(PIPELINE)

    def _is_half_answered(self) -> bool:
        unanswered = self.sequence - self.answered_to
        return unanswered <= CLIENT_PIPELINE_MAX // 2 and self._pending_bytes <= CLIENT_PIPELINE_BYTES_MAX // 2

    def _measure(self, since_s: float, count: int) -> None:
        seconds = self.service.clock.monotonic() - since_s
        self.latency_last_s = seconds
        self.latency_total_s += seconds * count
        if seconds > self.latency_max_s:
            self.latency_max_s = seconds
        if seconds < self.latency_min_s:
            self.latency_min_s = seconds
        self.counters.measured(seconds, count)

    # --- the end -----------------------------------------------------------------------------------------------------------

    def held_bytes(self) -> int:
        """Commands that are with the log are bounded there, for all clients of the node."""
        waiting = sum([len(request.frame) for request in self._waiting]) if self._waiting else 0
        sealed = sum([len(command) for command, _, _ in self._sealed]) if self._sealed else 0
        return waiting + sealed + super().held_bytes()

    def drop(self) -> None:
        super().drop()
        self._waiting.clear()
        self._sealed.clear()
        self._chunks.clear()
        self._run_count = 0
        self._in_flight.clear()
        self.service.forget(self, self._nonce)

    @property
    def latency_least_s(self) -> float:
        """0 while nothing was answered."""
        return 0.0 if self.latency_min_s == NEVER_S else self.latency_min_s

    @property
    def latency_average_s(self) -> float:
        """Of all requests answered so far; a read that was answered at once took no time."""
        return self.latency_total_s / max(self.received - self.outstanding, 1)

    @property
    def outstanding(self) -> int:
        """Requests that were taken and not answered yet."""
        return self.sequence - self.answered_to + len(self._waiting)
