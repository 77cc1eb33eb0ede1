"""`loggos status`: the whole cell by one address, and what is left of that where a node does not tell."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from loggos.base.errors import ConfigError
from loggos.cli.status import ask_all, whole_cell

HOST = "127.0.0.1"
TIMEOUT_S = 30.0
SRVR = b"Zookeeper version: 3.8.4\nMode: follower\n"


@contextmanager
def answering(**answers: bytes) -> Iterator[int]:
    """A server that answers what begins with a word, and hangs up; its port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            word = self.connection.recv(4).decode()
            self.wfile.write(answers.get(word, b""))

    with socketserver.ThreadingTCPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def page(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(text), text)


def conf(port: int) -> bytes:
    return b"clientPort=2181\nconsolePort=%d\n" % port


def test_one_address_is_enough_for_the_cell() -> None:
    """In order of the nodes; the one that was named by its name; one that has not been heard of yet is left out."""
    with ExitStack() as stack:
        other = stack.enter_context(answering(srvr=SRVR))
        told = {"node": 2, "nodes": {"10": "", "2": "127.0.0.1:1", "1": f"{HOST}:{other}"}}
        console = stack.enter_context(answering(**{"GET ": page(json.dumps(told).encode())}))
        named = f"localhost:{stack.enter_context(answering(srvr=SRVR, conf=conf(console)))}"
        assert whole_cell(named, TIMEOUT_S) == [f"{HOST}:{other}", named]
        answers = ask_all(named, TIMEOUT_S)
        assert [(answer["address"], answer["mode"]) for answer in answers] == [
            (f"{HOST}:{other}", "follower"),
            (named, "follower"),
        ]
        assert [answer["address"] for answer in ask_all(named, TIMEOUT_S, only=True)] == [named]
        both = f"{named}, {HOST}:{other}"
        assert [answer["address"] for answer in ask_all(both, TIMEOUT_S)] == both.split(", "), "several: just those"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON",
        b"[]",
        b'{"node": 1}',
        b'{"node": 1, "nodes": []}',
        b'{"node": "x", "nodes": {}}',
        b'{"node": 1, "nodes": {"2": "nowhere"}}',
        b'{"node": 1, "nodes": {"x": "127.0.0.1:1"}}',
    ],
)
def test_a_console_that_makes_no_sense_is_as_none(text: bytes) -> None:
    with answering(**{"GET ": page(text)}) as console, answering(conf=conf(console)) as port:
        assert whole_cell(f"{HOST}:{port}", TIMEOUT_S) == [f"{HOST}:{port}"]


@pytest.mark.parametrize(
    "words", [{}, {"conf": b"clientPort=2181\n"}, {"conf": b"consolePort=0\n"}, {"conf": b"consolePort=x\n"}]
)
def test_who_tells_nothing_is_asked_alone(words: dict[str, bytes]) -> None:
    with answering(**words) as port:
        assert whole_cell(f"{HOST}:{port}", TIMEOUT_S) == [f"{HOST}:{port}"]


def test_a_console_that_speaks_no_http_is_as_none() -> None:
    with answering(**{"GET ": b"what?\r\n\r\n"}) as console, answering(conf=conf(console)) as port:
        assert whole_cell(f"{HOST}:{port}", TIMEOUT_S) == [f"{HOST}:{port}"]


def test_no_address_at_all() -> None:
    with pytest.raises(ConfigError, match="--cluster names no address"):
        ask_all(" , ", TIMEOUT_S)
