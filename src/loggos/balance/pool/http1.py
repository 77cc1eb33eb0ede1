"""The least HTTP client that health checks and probes need: one GET at a time on connections that are kept open.

An answer is its status and its headers; a body is read (bounded by PROBE_BODY_BYTES_MAX) and dropped. Framing is h11's.
Must not know: pools, policies.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import h11

from loggos.balance.pool.members import split_address
from loggos.base.limits import PROBE_BODY_BYTES_MAX, PROBE_CONNECTIONS_KEPT_MAX, PROBE_READ_BYTES


class Answer(NamedTuple):
    """The head of an answer; header names in small letters, the last of equal ones counts."""

    status: int
    headers: Mapping[str, str]


class BadAnswerError(ConnectionError):
    """What came back is not HTTP, or too long."""


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection


class Getter:
    """GETs of one path from any end point. In one event loop at a time: connections of an earlier one are forgotten."""

    def __init__(self, path: str, *, tls: ssl.SSLContext | None = None, host: str | None = None) -> None:
        self._path = path
        self._tls = tls
        self._host = host
        self._idle: dict[str, list[_Connection]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self, name: str) -> Answer:
        """The answer of end point `name` ("host:port"). OSError: none came. A kept connection that broke is replaced once."""
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._idle = asyncio.get_running_loop(), {}
        kept = self._idle.get(name)
        while kept:
            connection = kept.pop()
            if connection.reader.at_eof() or connection.writer.is_closing():
                connection.writer.close()
                continue
            try:
                return await self._exchange(name, connection)
            except ConnectionError:
                break  # closed by the other side while idle, as servers do
        return await self._exchange(name, await self._connect(name))

    def close(self) -> None:
        """In the loop of the GETs."""
        for connections in self._idle.values():
            for connection in connections:
                connection.writer.close()
        self._idle.clear()

    async def _connect(self, name: str) -> _Connection:
        host, port = split_address(name)
        reader, writer = await asyncio.open_connection(host, port, ssl=self._tls)
        return _Connection(reader, writer, h11.Connection(h11.CLIENT))

    async def _exchange(self, name: str, connection: _Connection) -> Answer:
        reader, writer, http = connection
        again = False
        try:
            headers = [("host", self._host or name), ("accept", "*/*"), ("user-agent", "loggos")]
            writer.write(http.send(h11.Request(method="GET", target=self._path, headers=headers)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            answer = await self._read(reader, http)
            if http.our_state is h11.DONE and http.their_state is h11.DONE:
                http.start_next_cycle()
                again = True
        except h11.ProtocolError as error:
            raise BadAnswerError(f"{name}{self._path}: the answer is not HTTP/1.1: {error}") from error
        finally:
            kept = self._idle.setdefault(name, [])
            if again and len(kept) < PROBE_CONNECTIONS_KEPT_MAX:
                kept.append(connection)
            else:
                writer.close()
        return answer

    async def _read(self, reader: asyncio.StreamReader, http: h11.Connection) -> Answer:
        answer: Answer | None = None
        size_bytes = 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(PROBE_READ_BYTES))
            elif isinstance(event, h11.Response):
                answer = Answer(event.status_code, {k.decode("latin-1"): v.decode("latin-1") for k, v in event.headers})
            elif isinstance(event, h11.Data):
                size_bytes += len(event.data)
                if size_bytes > PROBE_BODY_BYTES_MAX:
                    raise BadAnswerError(f"{self._path}: a body of more than {PROBE_BODY_BYTES_MAX} bytes")
            elif isinstance(event, h11.EndOfMessage):
                assert answer is not None
                return answer
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise BadAnswerError(f"{self._path}: the connection was closed before the answer was complete")
