"""A small TCP proxy that knows ZooKeeper's framing: it can swallow the reply to one request and break the connection, or go
silent.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

CREATE, CREATE2, MULTI, DELETE = 1, 15, 14, 2


def read_frame(stream: socket.socket) -> bytes | None:
    """One frame with its length; None at the end."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack_from(">i", data)[0]:
        wanted = 4 - len(data) if len(data) < 4 else 4 + struct.unpack_from(">i", data)[0] - len(data)
        try:
            chunk = stream.recv(wanted)
        except OSError:
            return None
        if not chunk:
            return None
        data += chunk
    return data


class Proxy:
    """`lose_reply_to(opcodes)`: the next such request reaches the server, its reply is lost with the connection;
    `then_refuse`: no other connection is let through until `heal`."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.hosts = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost = 0  # replies swallowed
        self._lock = threading.Lock()
        self._to_lose: tuple[int, ...] = ()
        self._doomed: dict[int, int] = {}  # connection number -> xid of the request whose reply is to be lost
        self._open: list[socket.socket] = []
        self._refusing = False
        self._to_drop: int | None = None
        self._refuse_after_loss = False
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_reply_to(self, *opcodes: int, then_refuse: bool = False) -> None:
        with self._lock:
            self._to_lose, self._refuse_after_loss = opcodes, then_refuse

    def lose_request(self, opcode: int) -> None:
        """The next such request is lost with its connection."""
        with self._lock:
            self._to_drop = opcode

    def cut(self, refuse: bool) -> None:
        """Break every connection; while `refuse`, new ones are broken at once."""
        with self._lock:
            self._refusing = refuse
            connections, self._open = self._open, []
        for connection in connections:
            _break(connection)

    def heal(self) -> None:
        with self._lock:
            self._refusing = False

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.cut(refuse=True)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        number = 0
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                refusing = self._refusing
            if refusing:
                client.close()
                continue
            server = socket.create_connection(self._server)
            with self._lock:
                self._open += [client, server]
            number += 1
            self._start(self._forward, client, server, self._on_request, number)
            self._start(self._forward, server, client, self._on_reply, number)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, look: Callable[[int, bytes], bool], number: int) -> None:
        first = True
        while (frame := read_frame(source)) is not None:
            if not first and not look(number, frame):
                break
            first = False  # the connect request and its reply have no header
            try:
                sink.sendall(frame)
            except OSError:
                break
        _break(source)
        _break(sink)

    def _on_request(self, number: int, frame: bytes) -> bool:
        xid, opcode = struct.unpack_from(">ii", frame, 4)
        with self._lock:
            if opcode == self._to_drop:
                self._to_drop = None
                self.lost += 1
                return False
            if opcode in self._to_lose:
                self._to_lose = ()
                self._doomed[number] = xid
        return True

    def _on_reply(self, number: int, frame: bytes) -> bool:
        (xid,) = struct.unpack_from(">i", frame, 4)
        with self._lock:
            if self._doomed.get(number) != xid:
                return True
            del self._doomed[number]
            self.lost += 1
            self._refusing = self._refuse_after_loss
        return False


def _break(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
