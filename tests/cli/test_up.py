"""`loggos up`: who stops it, who does not, what it says of a node that cannot start, and what it leaves behind."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from loggos.app.bench import wire
from loggos.app.processes import child_environment
from loggos.base.errors import ConfigError
from loggos.cli.ports import free_base
from loggos.cli.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Reporter
from loggos.cli.status import ask_all
from loggos.cli.tables import show_nodes
from loggos.cli.up import RunNode, UpOptions, up
from loggos.node.config import NodeConfig
from tests.interop.cluster import eventually

pytestmark = pytest.mark.process

HOST = "127.0.0.1"
Running = tuple[subprocess.Popen[str], dict[str, Any]]
DEADLINE_S = 60.0


def base_port() -> int:
    """Of three nodes; others who test on this machine look from elsewhere."""
    return free_base(HOST, 3, start=random.SystemRandom().randrange(20_000, 30_000, 30))


# --- what `up` decides: nodes that only pretend ---------------------------------------------------------------------------


@dataclass
class Heard:
    """What people and programs are told. Once told, the cluster is stopped, unless `then` does something else."""

    lines: list[str] = field(default_factory=list)
    described: dict[str, Any] = field(default_factory=dict)
    then: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM)

    def announce(self, description: dict[str, Any]) -> None:
        self.described = description
        self.then()


def serve(report_to: int, lifeline: int) -> int:
    Reporter(report_to).say({"ready": True})
    select.select([lifeline], [], [])
    return EXIT_OK


def pretend(**wrong: Callable[[int], int]) -> RunNode:
    """Nodes that serve, but for those given: `node2=…` gets the pipe to report to, and gives the exit code."""

    def node(config: NodeConfig, report_to: int, lifeline: int) -> int:
        mine = wrong.get(f"node{config.id}")
        return serve(report_to, lifeline) if mine is None else mine(report_to)

    return node


def refuse(why: str, exit_code: int) -> Callable[[int], int]:
    def node(report_to: int) -> int:
        Reporter(report_to).refuse(why, exit_code)
        return exit_code

    return node


def run(heard: Heard, node: RunNode, data: Path, **options: Any) -> int:
    wanted = UpOptions(data=data, base_port=base_port(), **options)
    return up(wanted, heard.announce, heard.lines.append, node)


def test_all_serve(tmp_path: Path) -> None:
    heard = Heard()
    assert run(heard, pretend(), tmp_path) == EXIT_OK
    assert heard.lines == [] and len(heard.described["nodes"]) == 3
    assert not any("error" in node for node in heard.described["nodes"])


def test_a_node_that_is_damaged_stops_nobody_else(tmp_path: Path) -> None:
    heard = Heard()
    assert run(heard, pretend(node2=refuse("its journal is damaged", EXIT_FAILED)), tmp_path) == EXIT_FAILED
    assert heard.lines == ["node 2 cannot start: its journal is damaged; the others go on without it"]
    nodes = heard.described["nodes"]
    assert [node.get("error") for node in nodes] == [None, "its journal is damaged", None]
    assert [node["pid"] is None for node in nodes] == [False, True, False]


def test_a_node_that_ends_without_a_word_stops_nobody_else(tmp_path: Path) -> None:
    heard = Heard()
    assert run(heard, pretend(node3=lambda report_to: EXIT_FAILED), tmp_path) == EXIT_FAILED
    (line,) = heard.lines
    assert line.startswith("node 3 cannot start: it ended before it served: see ") and "node3/node.log" in line


def test_too_few_that_can_start_stop_all(tmp_path: Path) -> None:
    heard, bad = Heard(), refuse("its disk fails", EXIT_FAILED)
    assert run(heard, pretend(node1=bad, node2=bad, node3=bad), tmp_path) == EXIT_FAILED
    first, last = heard.lines
    assert first.endswith(" cannot start: its disk fails; the others go on without it")
    assert last.endswith(" cannot start: its disk fails; 1 of 3 nodes are left, no quorum: all are stopped")
    assert heard.described == {}


def test_what_the_user_must_mend_stops_all(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(ConfigError, match=r"^node 2: the port is in use$"):
        run(heard, pretend(node2=refuse("the port is in use", EXIT_USAGE)), tmp_path)
    assert heard.lines == [] and heard.described == {}


def wait(report_to: int) -> int:
    signal.pause()
    return EXIT_OK


def test_a_node_that_does_not_serve_in_time_is_left_out_of_a_quorum(tmp_path: Path) -> None:
    heard = Heard()
    assert run(heard, pretend(node1=wait), tmp_path, start_timeout_ms=2_000) == EXIT_FAILED
    (line,) = heard.lines
    assert line.startswith("nodes [1] do not serve after 2 s: see node.log under ") and line.endswith("go on without them")
    assert heard.described["nodes"][0]["error"] == "it does not serve yet"
    heard = Heard()
    assert run(heard, pretend(node1=wait, node2=wait), tmp_path, start_timeout_ms=100) == EXIT_FAILED
    assert heard.lines[0].startswith("nodes [1, 2") and heard.described == {}


def test_a_node_that_dies_is_started_again_until_it_cannot_be(tmp_path: Path) -> None:
    """Its second life is refused: that is said once, and not tried again. The stop comes when it has been said."""
    lives = tmp_path / "lives"
    lives.touch()

    def node(config: NodeConfig, report_to: int, lifeline: int) -> int:
        if config.id != 2:
            return serve(report_to, lifeline)
        with lives.open("a") as file:
            file.write("x")
        if lives.stat().st_size == 1:
            Reporter(report_to).say({"ready": True})
            signal.raise_signal(signal.SIGKILL)
        return refuse("its disk is gone", EXIT_FAILED)(report_to)

    def said(line: str) -> None:
        lines.append(line)
        if "gone" in line:
            signal.raise_signal(signal.SIGTERM)

    lines: list[str] = []
    heard = Heard(then=lambda: None)
    wanted = UpOptions(data=tmp_path / "data", base_port=base_port(), restart=True)
    assert up(wanted, heard.announce, said, node) == EXIT_OK
    log = f"; its log is {tmp_path}/data/node2/node.log"
    died = f"node 2 has died: killed by SIGKILL{log}"
    assert lines == [died, "node 2 is started again", "node 2 cannot start: its disk is gone"]
    assert lives.stat().st_size == 2


# --- the command itself --------------------------------------------------------------------------------------------------------


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "loggos.cli.main", "up", *words]


@contextmanager
def running(
    folder: Path, *words: str, ignore: signal.Signals | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`loggos up --json …` that serves, and what it printed. `ignore`: a signal that it is started to ignore, as nohup does."""

    def prepare() -> None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):  # whatever the tests themselves were started to ignore
            signal.signal(number, signal.SIG_IGN if number == ignore else signal.SIG_DFL)

    process = subprocess.Popen(
        command("--json", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**child_environment(), "TMPDIR": str(folder)},
        start_new_session=True,
        preexec_fn=prepare,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=DEADLINE_S)
        yield process, json.loads(line)
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def nodes_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert alive == []


def refused(*words: str) -> str:
    """The one line that it ends with, at once."""
    done = subprocess.run(
        command(*words), capture_output=True, text=True, env=child_environment(), timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stdout) == (EXIT_USAGE, ""), done
    (line,) = done.stderr.splitlines()
    return line


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        assert refused("--data", str(path)) == f"loggos: cannot make the data directory {path}: Not a directory: choose another"


def test_a_node_whose_directory_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """Said by the parent alone, though three children know it."""
    for number in (1, 2, 3):
        (tmp_path / f"node{number}").touch()
    line = refused("--data", str(tmp_path), "--base-port", str(base_port()))
    assert line.startswith("loggos: node ") and line.endswith(": Not a directory: choose another")


def test_two_real_nodes_go_on_without_the_third(tmp_path: Path) -> None:
    words = ("--data", str(tmp_path / "data"), "--base-port", str(base_port()))
    with running(tmp_path, *words) as (process, _):
        process.terminate()
        assert process.wait(DEADLINE_S) == EXIT_OK
    identity = tmp_path / "data" / "node2" / "identity.json"
    identity.unlink()
    identity.mkdir()  # what its disk gives cannot be read
    with running(tmp_path, *words) as (process, description):
        errors = [node.get("error", "") for node in description["nodes"]]
        assert errors[0] == errors[2] == "" and "identity.json" in errors[1]
        address = description["nodes"][0]["zookeeper"].split(":")
        wire.Session((address[0], int(address[1])), session_ms=4_000, timeout_s=DEADLINE_S).close()
        process.terminate()
        _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == EXIT_FAILED
        assert said == f"loggos: node 2 cannot start: {errors[1]}; the others go on without it\n"


def test_a_killed_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """No node, no temporary directory, and its ports can be taken again."""
    words = ("--ephemeral", "--base-port", str(base_port()))
    with running(tmp_path, *words) as (process, _):
        nodes = nodes_of(process)
        assert len(nodes) == 3 and list(tmp_path.iterdir()) != []
        process.kill()
        wait_gone(nodes)
        assert list(tmp_path.iterdir()) == []
    with running(tmp_path, *words):
        pass


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_what_ends_a_command_ends_up_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "--ephemeral", "--base-port", str(base_port())) as (process, _):
        nodes = nodes_of(process)
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == EXIT_OK
        wait_gone(nodes)
        assert list(tmp_path.iterdir()) == []


def test_without_its_terminal_it_goes_on_if_it_was_told_to(tmp_path: Path) -> None:
    with running(tmp_path, "--ephemeral", "--base-port", str(base_port()), ignore=signal.SIGHUP) as (process, described):
        assert process.stderr is not None
        os.killpg(process.pid, signal.SIGHUP)
        os.kill(described["nodes"][2]["pid"], signal.SIGKILL)
        assert process.stderr.readline().startswith("loggos: node 3 has died: killed by SIGKILL")
        address = described["nodes"][0]["zookeeper"].split(":")
        wire.Session((address[0], int(address[1])), session_ms=4_000, timeout_s=DEADLINE_S).close()


def test_status_of_any_node_is_that_of_the_cell(tmp_path: Path) -> None:
    with running(tmp_path, "--ephemeral", "--base-port", str(base_port())) as (_, description):
        addresses = [node["zookeeper"] for node in description["nodes"]]
        for address in addresses:
            answers = eventually("all are heard of", lambda at=address: len(found := ask_all(at, DEADLINE_S)) == 3 and found)
            assert [answer["address"] for answer in answers] == addresses
        followers = [place for place in range(3) if answers[place]["mode"] == "follower"]
        assert len(followers) == 2 and [answer["mode"] for answer in answers].count("leader") == 1
        dead = followers[0]
        os.kill(description["nodes"][dead]["pid"], signal.SIGKILL)
        wait_gone([psutil.Process(description["nodes"][dead]["pid"])])
        told = ask_all(addresses[followers[1]], DEADLINE_S)
        assert ["error" in answer for answer in told] == [place == dead for place in range(3)]


def test_people_see_who_does_not_serve(capsys: pytest.CaptureFixture[str]) -> None:
    node = {"zookeeper": "127.0.0.1:1", "console": "http://127.0.0.1:4", "data": "d"}
    show_nodes({"nodes": [{**node, "id": 1, "pid": 17}, {**node, "id": 2, "pid": None, "error": "it is damaged"}]})
    title, _, first, second, connect = capsys.readouterr().out.splitlines()
    assert title == "1 of 2 nodes serve; Ctrl-C stops them" and connect.endswith(": 127.0.0.1:1")
    assert first.split()[:2] == ["1", "17"] and second.startswith("2     does not serve  127.0.0.1:1")
