"""The outgoing half of a client's connection: one queue, sent once per loop turn, and how the connection ends.

Rules:
- What is queued leaves in the order in which it was queued: replies, events, everything.
- A client that does not read is first no longer read from, then, when its unread output passes the bound, disconnected. What
  it does not read counts against what all clients of the node may hold, also while its connection closes.
- A connection ends once: what is queued is sent, unless it is aborted; then the service and the door forget it.

Must not know: requests, the log.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from loggos.base.ids import SessionId
from loggos.base.limits import CLIENT_OUTPUT_BYTES_MAX, CLIENT_OUTPUT_PAUSE_BYTES
from loggos.coordination.zookeeper.codec import encode_event

if TYPE_CHECKING:
    from loggos.coordination.zookeeper.server import ZooKeeperDoor

logger = logging.getLogger(__name__)

# what has been agreed with the client
HELLO: Final = 0  # nothing yet
ATTACHING: Final = 1  # its connect request is with the log
LIVE: Final = 2
ENDING: Final = 3  # no further requests are read; what is outstanding is answered, then the connection closes
CLOSED: Final = 4

# what is written to the log of events when a connection ends; nothing where the client is through
DISCONNECTED: Final = "client disconnected"
REFUSED: Final = "client refused"
BAD_FRAME: Final = "bad frame"
AUTHENTICATION_FAILED: Final = "authentication failed"
NO_EVENT: Final = ""

# why nothing is read from the client
BLOCKED: Final = 1  # what has been read cannot be taken yet
PIPELINE: Final = 2  # too much is unanswered
OUTPUT: Final = 4  # the client does not read
LOG_FULL: Final = 8
BUDGET: Final = 16  # all clients together hold too much, and this one most


class Output(asyncio.Protocol):
    """What a `Connection` is built on. `out` is the queue."""

    __slots__ = (
        "_dirty",
        "_paused",
        "transport",
        "address",
        "choked",
        "closed_why",
        "counters",
        "door",
        "established_ms",
        "out",
        "out_bytes",
        "port",
        "sent",
        "service",
        "session",
        "state",
        "unread",
    )

    def __init__(self, door: ZooKeeperDoor) -> None:
        self.door = door
        self.service = door.service
        self.counters = door.service.counters
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self._paused = 0
        self._dirty = False
        self.state = HELLO
        self.session = SessionId(0)
        self.address, self.port, self.established_ms = "", 0, 0
        self.closed_why = ""
        self.unread = False  # more than CLIENT_OUTPUT_COUNT_BYTES are unread
        self.choked = False  # more than CLIENT_OUTPUT_PAUSE_BYTES are
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.sent = 0

    # --- the transport -----------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self.unread = True
        self._unread_grew()

    def _unread_grew(self) -> None:
        size = self.transport.get_write_buffer_size()
        if self.choked and size > CLIENT_OUTPUT_BYTES_MAX:
            self.close("the client does not read its replies", abort=True)
            return
        if size > CLIENT_OUTPUT_PAUSE_BYTES:
            self.choked = True
            self.pause(OUTPUT)
        self.service.budget.count(self)

    def resume_writing(self) -> None:
        self.unread = self.choked = False
        self.service.budget.count(self)
        self.unblock()
        self.resume(OUTPUT)

    def pause(self, reason: int) -> None:
        """Read nothing from the client until every reason for it is gone."""
        if not self._paused and self._is_open():
            self.transport.pause_reading()
        self._paused |= reason

    def resume(self, reason: int) -> None:
        if self._paused & reason:
            self._paused &= ~reason
            if not self._paused and self._is_open():
                self.transport.resume_reading()
                self.door.goes_on(self)

    def is_paused(self, reason: int) -> bool:
        return bool(self._paused & reason)

    def _is_open(self) -> bool:
        return self.state < CLOSED and not self.transport.is_closing()

    # --- what it holds, for the node's budget --------------------------------------------------------------------------------

    def held_bytes(self) -> int:
        return self.transport.get_write_buffer_size() if self.unread else 0

    def hold_back(self, on: bool) -> None:
        if on:
            self.pause(BUDGET)
        else:
            self.resume(BUDGET)

    def is_held_up(self) -> bool:
        """Is it on our side that nothing is read? Not where the client has brought it about by what it holds."""
        return bool(self._paused & ~BUDGET)

    def evict(self, why: str) -> None:
        self.unread = False
        if self.state == CLOSED:
            self.abort()
        else:
            self.close(why, abort=True)

    # --- the queue ---------------------------------------------------------------------------------------------------------

    def notify(self, event: int, path: bytes, index: int) -> None:
        """A watch fired; `index` -1: not by one change."""
        if self.state in (LIVE, ENDING):
            self.counters.events_sent += 1
            self.queue_event(encode_event(event, path, index))

    def queue_event(self, frame: bytes) -> None:
        """An event takes its place behind every reply queued so far: the one that registered it among them."""
        self.queue(frame)

    def queue(self, frame: bytes) -> None:
        self.out.append(frame)
        self.out_bytes += len(frame)
        self.mark_dirty()

    def mark_dirty(self) -> None:
        """Something is queued that nobody else will flush: the service does, when the batch is done."""
        if not self._dirty:
            self._dirty = True
            self.service.dirty(self)

    def flush(self) -> None:
        """Send what is queued, in one write."""
        self._dirty = False
        out = self.out
        if not out or self.state == CLOSED:
            out.clear()
            return
        was_unread = self.unread
        data = out[0] if len(out) == 1 else b"".join(out)
        self.sent += len(out)
        counters = self.counters
        counters.packets_sent += len(out)
        counters.bytes_sent += len(data)
        out.clear()
        self.out_bytes = 0
        self.transport.write(data)
        if was_unread:
            self._unread_grew()

    # --- the end -----------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        self.close("the session ended", event=NO_EVENT)

    def hang_up(self, why: str, event: str = DISCONNECTED) -> None:
        """No further request is taken; close once the queue of this turn is sent."""
        if self.state < CLOSED:
            self.state = ENDING
            self.door.loop_soon(lambda: self.close(why, event=event))

    def close(self, why: str, *, abort: bool = False, event: str = DISCONNECTED) -> None:
        """Send what is queued, then close; or `abort`: drop everything."""
        if self.state == CLOSED:
            return
        if not abort:
            self.flush()
        if self.state == CLOSED:
            return
        self.release(why, event)
        if abort:
            self.transport.abort()
        else:
            self.transport.close()
            self.door.linger(self)

    def release(self, why: str, event: str) -> None:
        """Nothing more will come of this connection."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.closed_why = why
        self.counters.connections_closed += 1
        if event and logger.isEnabledFor(logging.INFO):
            session = f"{self.session:#x}" if self.session else "none"
            logger.info(event, {"client": f"{self.address}:{self.port}", "session": session, "why": why})
        self.out.clear()
        self.drop()
        self.service.budget.count(self)

    def abort(self) -> None:
        """A closed connection whose last bytes the client would not take."""
        self.transport.abort()

    # --- the incoming half ---------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Forget all input and everything outstanding, and be forgotten by the service."""

    def unblock(self) -> None:
        """Try again to take the input that could not be taken."""
