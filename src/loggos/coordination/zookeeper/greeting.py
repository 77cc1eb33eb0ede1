"""How a client's connection begins: a four-letter word, which is answered, or a connect request, which is brought to the log.

Rules:
- A node without a leader takes up no session, and one that knows less than the client has seen lets it find another.
- Nothing is made for a client before the log has given it its session.

Must not know: requests. Source: ZooKeeperServer.processConnectRequest of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from loggos.base.errors import FrameError, OverloadedError
from loggos.base.ids import SessionId
from loggos.base.limits import CATCH_UP_WAIT_MS, CONNECT_FRAME_BYTES_MAX
from loggos.coordination.commands import Attached
from loggos.coordination.zookeeper import four_letter
from loggos.coordination.zookeeper.codec import (
    PASSWORD_BYTES,
    ConnectRequest,
    encode_connect_reply,
    frame_length,
    read_connect,
)
from loggos.coordination.zookeeper.input import Input
from loggos.coordination.zookeeper.output import ATTACHING, BAD_FRAME, HELLO, LIVE, NO_EVENT, REFUSED

if TYPE_CHECKING:
    from loggos.coordination.service import Client
    from loggos.coordination.zookeeper.server import ZooKeeperDoor

NO_NONCE: Final = -1


class Greeting(Input):
    """What a `Connection` is built on: from its first byte to its session."""

    __slots__ = ("_nonce", "_read_only", "generation", "timeout_ms", "touched")

    def __init__(self, door: ZooKeeperDoor) -> None:
        super().__init__(door)
        self.generation = self.timeout_ms = 0
        self.touched = False
        self._read_only: bool | None = None
        self._nonce = NO_NONCE

    def _touch(self) -> None:
        """Any byte of a client counts as a sign of life."""
        if not self.touched and self.state == LIVE:
            self.service.liveness.touch(self)

    def _hello(self, data: bytes) -> None:
        """The first bytes: a four-letter word, or a connect request."""
        if len(data) < 4:
            self._keep(data, 0)
            return
        word = data[:4]
        if four_letter.is_known(word):
            self.queue(four_letter.answer(self.door, word))
            self.close("a four-letter word was answered", event=NO_EVENT)
            return
        try:
            size = frame_length(data, 0, CONNECT_FRAME_BYTES_MAX)
            assert size is not None
            if size > len(data):
                self._keep(data, 0)
                return
            self._connect(data[4:size])
        except FrameError as error:
            self._bad_input(str(error))
            return
        if self.state == ATTACHING:
            self._keep(data, size)
            self._blocked = True  # and read on, for its end must be seen: whoever is gone shall not be attached
        elif self.state == LIVE:  # a log that answers at once
            self._scan(data[size:])

    def _connect(self, payload: bytes) -> None:
        request = read_connect(payload)
        self.counters.packets_received += 1
        if not self.service.admits():
            self.close("no leader is known: this node can take up no session", event=REFUSED)
            return
        if self.is_ahead(request.last_zxid_seen):
            self.state = ATTACHING
            self.service.sync(lambda _: self._caught_up(request))  # perhaps this node has only not heard of it yet
            self.door.loop_later(CATCH_UP_WAIT_MS / 1000, lambda: self._caught_up(request))
        else:
            self._attach(request)

    def _caught_up(self, request: ConnectRequest) -> None:
        """This node has heard of all that was acknowledged anywhere, or could not for a while."""
        if self.state != ATTACHING or self._nonce != NO_NONCE:
            return
        if self.is_ahead(request.last_zxid_seen):
            why = f"it has seen {request.last_zxid_seen:#x}, this node only {self.service.index:#x}"
            self.close(why, event=REFUSED)
        else:
            self._attach(request)

    def _attach(self, request: ConnectRequest) -> None:
        self._read_only = request.read_only
        session = SessionId(request.session)
        password = request.password if session else self.service.entropy.token(PASSWORD_BYTES)
        try:
            self._nonce = self.service.attach(cast("Client", self), session, request.timeout_ms, password, self.address)
        except OverloadedError:
            self.close("the log is full", event=REFUSED)
            return
        if self.state == HELLO:
            self.state = ATTACHING

    def is_ahead(self, last_zxid_seen: int) -> bool:
        """A client must never read less than it has seen: let it find another node."""
        return last_zxid_seen > self.service.index

    def attached(self, answer: Attached) -> None:
        """The log's word on our connect request."""
        self.door.greeted(self)
        if not answer.session:
            self.queue(encode_connect_reply(0, 0, bytes(PASSWORD_BYTES), self._refusal_flag()))
            self.hang_up("an unknown session, or a wrong password", REFUSED)
            return
        self.session, self.generation, self.timeout_ms = answer.session, answer.generation, answer.timeout_ms
        self.state = LIVE
        self.queue(encode_connect_reply(answer.timeout_ms, answer.session, answer.password, self._refusal_flag()))
        self._touch()
        self.unblock()

    def _refusal_flag(self) -> bool | None:
        """The reply's readOnly byte: we are never read-only; clients too old to send it do not get it."""
        return None if self._read_only is None else False

    def _bad_input(self, why: str) -> None:
        self.counters.bad_frames += 1
        self.close(why, event=BAD_FRAME)
