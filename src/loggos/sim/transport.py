"""One simulated TCP connection: two transports, and between them a wire in each direction.

Rules (what TCP promises and what it does not):
- Bytes arrive in order, cut into arbitrary pieces, or the connection breaks. Nothing is ever lost in the middle.
- A cut link queues bytes and retries with back-off; after `break_after_s` without progress the sender's side breaks. The other
  side learns of it only when it sends (half-open).
- A sender is slowed by its receiver: beyond the window bytes wait at the sender, beyond the send buffer its protocol is paused.
- A closed or forgotten end answers bytes with a reset, if its machine is up and the way back is open.

Protocol callbacks run in the context of the host that owns the end, so they die or pause with it.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from loggos.sim.life import Life
    from loggos.sim.network import Link, SimNetwork

Address = tuple[str, int]
EOF: Final = b""  # in a wire: the sender has closed its side
RESET: Final = None  # in a wire: the connection is gone
_READ_BYTES: Final = 256 << 10  # most that one data_received is given, as in asyncio


class Wire:
    """One direction. `unsent`: handed over by the application, not yet under way; `flight`: under way, with arrival times."""

    def __init__(self, network: SimNetwork, source: SimTransport, target: SimTransport, link: Link) -> None:
        self.network, self.source, self.target, self.link = network, source, target, link
        self.unsent: deque[bytes | None] = deque()
        self.unsent_bytes = 0
        self.flight: deque[tuple[float, bytes | None]] = deque()
        self.flight_bytes = 0
        self.broken = False
        self._arrival: asyncio.TimerHandle | None = None
        self._last_arrival = 0.0
        self._stalled = False
        self._stalled_since = -1.0
        self._backoff_s = 0.0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the receiver's machine does not have yet."""
        return self.unsent_bytes + self.flight_bytes

    def send(self, item: bytes | None) -> None:
        """Data, EOF, or RESET, in order."""
        if self.broken:
            return
        self.unsent.append(item)
        if item:
            self.unsent_bytes += len(item)
        self.pump()

    def send_reset(self) -> None:
        """The sender is gone: what it had not sent is lost, and the other side is told at once, if the link lets it."""
        self.unsent.clear()
        self.unsent_bytes = 0
        self._stalled = False
        if self.broken or self.network.is_cut(self.link):
            self.cut_off()
            return
        self._depart(RESET)

    def cut_off(self) -> None:
        """Nothing more will come this way, and nobody is told."""
        self.broken = True
        self.unsent.clear()
        self.unsent_bytes = 0

    def pump(self) -> None:
        """Send as much as the receiver's window takes."""
        model = self.network.model
        while self.unsent and not self._stalled and self.flight_bytes + self.target.inbox_bytes < model.window_bytes:
            if self.network.is_cut(self.link):
                self._stall()
                return
            item = self.unsent.popleft()
            if item:
                self.unsent_bytes -= len(item)
            self._depart(item)

    def _depart(self, item: bytes | None) -> None:
        loop = self.network.loop
        size = len(item) if item else 0
        arrival = max(self._last_arrival, loop.time() + self.network.draw_delay(self.link, size))
        if item and size > 1 and self.network.draws.chance(self.link.split):
            at = self.network.draws.randrange(1, size)
            self.flight.append((arrival, item[:at]))
            item = item[at:]
            arrival += self.network.draw_delay(self.link, size)
        self.flight.append((arrival, item))
        self.flight_bytes += size
        self._last_arrival = arrival
        if self._arrival is None:
            self._arrival = loop.call_at(self.flight[0][0], self._arrive, context=self.network.context)

    def _arrive(self) -> None:
        """The head of the flight reaches the receiver's machine, or is lost on a link that was cut meanwhile."""
        self._arrival = None
        if self.network.is_cut(self.link) or not self.target.machine_is_up():
            self._lose_flight()
            return
        now = self.network.loop.time()
        self._stalled_since = -1.0
        self._backoff_s = 0.0
        while self.flight and self.flight[0][0] <= now:
            if self.flight[0][1] and not self.target.takes_data:
                self._refused()
                return
            item = self.flight.popleft()[1]
            if item:
                self.flight_bytes -= len(item)
            self.target.receive(item)
        if self.broken:
            return
        if self.flight:
            self._arrival = self.network.loop.call_at(self.flight[0][0], self._arrive, context=self.network.context)
        self.source.drained()
        self.pump()

    def _lose_flight(self) -> None:
        """All under way is lost; TCP will send it again, except a reset."""
        lost = [item for _, item in self.flight if item is not RESET]
        was_reset = len(lost) < len(self.flight)
        self.flight.clear()
        self.unsent_bytes += self.flight_bytes
        self.flight_bytes = 0
        self.unsent.extendleft(reversed(lost))
        if was_reset or not self.source.machine_is_up():
            self.cut_off()
        else:
            self._stall()

    def _stall(self) -> None:
        """No way through now: try again later, and break after too long."""
        loop, model = self.network.loop, self.network.model
        if self._stalled_since < 0:
            self._stalled_since = loop.time()
        self._stalled = True
        self._backoff_s = min(max(model.retransmit_s, self._backoff_s * 2), model.retransmit_max_s)
        loop.call_later(self._backoff_s, self._retry, context=self.network.context)

    def _retry(self) -> None:
        if self.broken or not self._stalled:
            return
        self._stalled = False
        if self.network.loop.time() - self._stalled_since > self.network.model.break_after_s:
            self.network.count_fault("tcp timeout", self.link)
            self.cut_off()
            self.source.fail(TimeoutError(errno.ETIMEDOUT, "connection timed out"))
            return
        self.pump()

    def _refused(self) -> None:
        """The receiver's machine knows no such connection: it answers with a reset. If that cannot come back, TCP sends again."""
        back = self.network.link_between(self.link.target, self.link.source)
        if self.network.is_cut(back):
            self._lose_flight()
            return
        self.cut_off()
        self.flight.clear()
        self.flight_bytes = 0
        delay = self.network.draw_delay(back, 0)
        error = ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
        self.network.loop.call_later(delay, self.source.fail, error, context=self.network.context)


class SimTransport(asyncio.Transport):
    """One end. `life` owns it; `gone`: its machine has forgotten the connection (closed, aborted, crashed)."""

    def __init__(self, network: SimNetwork, life: Life, context: Context, local: Address, remote: Address) -> None:
        super().__init__({"sockname": local, "peername": remote})
        self.network, self.life, self.context = network, life, context
        self.local, self.remote = local, remote
        self.out: Wire
        self.into: Wire
        self.gone = False
        self.inbox: deque[bytes] = deque()
        self.inbox_bytes = 0
        self._protocol: asyncio.BaseProtocol | None = None
        self._closing = False
        self._lost = False  # connection_lost is called or on its way
        self._reading = True
        self._delivering = False  # a delivery is scheduled
        self._end_seen: str = ""  # "eof" or "reset" behind the inbox
        self._wrote_eof = False
        self._paused_writing = False
        self._low, self._high = 16 << 10, 64 << 10

    # --- asyncio's interface ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._schedule_delivery()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return max(0, self.out.waiting_bytes - self.network.model.send_buffer_bytes) if not self._lost else 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = 64 << 10 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._low, self._high = low, high
        self._check_high()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._wrote_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or self._lost or self.life.dead or not data:
            return
        self.out.send(bytes(data))
        self._check_high()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if self._closing or self._wrote_eof:
            return
        self._wrote_eof = True
        self.out.send(EOF)

    def close(self) -> None:
        """Send what is buffered, then end the connection. What the peer still sends is answered with a reset."""
        if self._closing or self.life.dead:
            return
        self._closing = True
        self._drop_inbox()
        if self.get_write_buffer_size() == 0:
            self._finish_close()

    def abort(self) -> None:
        if self._lost or self.life.dead:
            return
        self.out.send_reset()
        self.fail(None)

    # --- used by the wires ---

    def machine_is_up(self) -> bool:
        return self.network.is_up(self.life.host)

    @property
    def takes_data(self) -> bool:
        """Would this machine take more bytes of this connection?"""
        return not self.gone and not self._closing

    def receive(self, item: bytes | None) -> None:
        """Something arrived at this machine."""
        if self.gone:
            return
        if item is RESET:
            self._end_seen = "reset"
        elif not item:
            self._end_seen = "eof"
        else:
            self.inbox.append(item)
            self.inbox_bytes += len(item)
        self._schedule_delivery()

    def drained(self) -> None:
        """Some of our bytes have arrived."""
        if self._lost or self.life.dead:
            return
        size = self.get_write_buffer_size()
        if self._closing and size == 0:
            self._finish_close()
        elif self._paused_writing and size <= self._low:
            self._paused_writing = False
            self.network.loop.call_soon(self._call, "resume_writing", context=self.context)

    def fail(self, error: Exception | None) -> None:
        """The connection is over, now; the protocol is told."""
        if self._lost:
            return
        self._lost = self._closing = self.gone = True
        self._drop_inbox()
        self.network.forget(self)
        self.network.loop.call_soon(self._call, "connection_lost", error, context=self.context)

    def vanish(self) -> None:
        """This end is gone and nobody is told, not even its own protocol (its host crashed)."""
        self._lost = self._closing = self.gone = True
        self._drop_inbox()
        self.network.forget(self)

    # --- delivery, in the context of the owner ---

    def start(self, protocol: asyncio.BaseProtocol) -> None:
        """Attach the protocol; runs in the owner's context."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._schedule_delivery()

    def _schedule_delivery(self) -> None:
        if self._delivering or self._protocol is None or self._lost or not (self._reading or self._end_seen == "reset"):
            return
        if self.inbox or self._end_seen:
            self._delivering = True
            self.network.loop.call_soon(self._deliver, context=self.context)

    def _deliver(self) -> None:
        self._delivering = False
        if self._lost:
            return
        if self._end_seen == "reset":
            self.out.cut_off()
            self.fail(ConnectionResetError(errno.ECONNRESET, "connection reset by peer"))
        elif self.inbox and self._reading and not self._closing:
            self._deliver_data(self._take_inbox())
            self.into.pump()
            self._schedule_delivery()
        elif self._end_seen == "eof" and self._reading and not self._closing:
            self._end_seen = ""
            if not self._call("eof_received"):
                self.close()

    def _take_inbox(self) -> bytes:
        if len(self.inbox) == 1 and self.inbox_bytes <= _READ_BYTES:
            data = self.inbox.popleft()
        else:
            joined = b"".join(self.inbox)
            self.inbox.clear()
            data = joined[:_READ_BYTES]
            if len(joined) > _READ_BYTES:
                self.inbox.append(joined[_READ_BYTES:])
        self.inbox_bytes -= len(data)
        return data

    def _deliver_data(self, data: bytes) -> None:
        self.network.trace.delivery(self.life.number, data)
        if self.network.trace.recording:
            sender = f"from {self.into.link.source}:{self.remote[1]} to port {self.local[1]}"
            self.network.trace.line(self.network.loop.time(), self.life.host, "received", f"{len(data)} bytes {sender}")
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            self._call("data_received", data)
            return
        while data and not self._lost:
            buffer = memoryview(self._call("get_buffer", len(data)) or bytearray(1)).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            data = data[size:]
            self._call("buffer_updated", size)

    def _call(self, method: str, *args: Any) -> Any:
        """Call the protocol; supervision: an error in it ends the connection and is reported."""
        try:
            return getattr(self._protocol, method)(*args)
        except Exception as error:
            self.network.protocol_failed(self, method, error)
            self.abort()
            return None

    def _drop_inbox(self) -> None:
        self.inbox.clear()
        self.inbox_bytes = 0

    def _finish_close(self) -> None:
        if not self._wrote_eof:
            self.out.send(EOF)
        self.fail(None)

    def _check_high(self) -> None:
        if not self._paused_writing and self.get_write_buffer_size() > self._high:
            self._paused_writing = True
            self._call("pause_writing")
