"""The command line as a person or a script meets it: streams, boxes, usage errors, flags. Most in processes of their own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from loggos.app.bench.main import parser
from loggos.app.processes import child_environment
from loggos.base.errors import ConfigError
from loggos.cli.flags import changes_of
from loggos.node.config import Coordination, NodeConfig, Ports, load
from loggos.planner.advise.sample import SAMPLE_INTENT

pytestmark = pytest.mark.process

BOX = "╭"
DEADLINE_S = 60.0


def loggos(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command whose output goes into pipes."""
    command = [sys.executable, "-m", "loggos.cli.main", *words]
    wanted = {**child_environment(), "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=wanted, timeout=DEADLINE_S, check=False)


def on_a_terminal(*words: str) -> str:
    """All that a person sees."""
    controller, terminal = pty.openpty()
    environment = {**child_environment(), "PYTHONIOENCODING": "utf-8", "TERM": "xterm"}
    command = [sys.executable, "-m", "loggos.cli.main", *words]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        seen = b""
        while piece := read_terminal(controller):
            seen += piece
        process.wait(DEADLINE_S)
    os.close(controller)
    return seen.decode()


def read_terminal(controller: int) -> bytes:
    try:
        return os.read(controller, 65_536)
    except OSError:  # how a terminal ends on Linux
        return b""


def test_help_and_usage_errors_are_plain_text_in_files_and_boxes_on_a_terminal() -> None:
    for words in (("up", "--help"), ("up", "--nodse", "3")):
        done = loggos(*words)
        assert BOX not in done.stdout + done.stderr and "sage: " in done.stdout + done.stderr
        assert BOX in on_a_terminal(*words)
    assert loggos("up", "--nodse", "3").returncode == 2


def test_an_encoding_without_a_character_ends_no_command(tmp_path: Path) -> None:
    intent = tmp_path / "intent.toml"
    intent.write_text(SAMPLE_INTENT, encoding="utf-8")
    done = loggos("plan", "make", "--intent", str(intent), PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "8 ? large" in done.stdout and done.stderr == ""


def test_output_that_is_closed_ends_no_command() -> None:
    command = [sys.executable, "-m", "loggos.cli.main", "--version"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], env=child_environment(), timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0


def line(*words: str) -> str:
    """The one line of a command that is used wrongly."""
    done = loggos(*words)
    assert (done.returncode, done.stdout) == (2, ""), done
    (said,) = done.stderr.splitlines()
    return said


def test_what_is_no_address_is_one_line() -> None:
    assert line("status", "--cluster", "127.0.0.1:²").startswith("loggos: the address '127.0.0.1:²' is not host:port")


def test_an_empty_directory_is_not_the_working_directory() -> None:
    assert line("up", "--data", "") == "loggos: --data is empty: name a directory"


def test_a_node_without_a_configuration_is_told_what_is_missing() -> None:
    assert line("node", "--id", "1") == "loggos: a node needs --config, or --id, --data and every --voter: --data is missing"
    assert "--voter '1' is not ID=HOST:PORT" in line("node", "--id", "1", "--data", "d", "--voter", "1")


# --- the flags of a node ---------------------------------------------------------------------------------------------------


def test_flags_can_stand_for_the_whole_file() -> None:
    changes = changes_of(
        id=2,
        data="d",
        cell="orders",
        voters=["1=127.0.0.1:2185", "2=127.0.0.1:2195"],
        learners=["3=[::1]:2205"],
        base_port=2191,
        tick_ms=500,
        connections_per_address_max=60,
        host=None,
    )
    assert load(None, changes) == NodeConfig(
        id=2,
        voters={"1": "127.0.0.1:2185", "2": "127.0.0.1:2195"},
        learners={"3": "[::1]:2205"},
        data="d",
        cell="orders",
        host="127.0.0.1",
        ports=Ports(zookeeper=2191, console=2194),
        coordination=Coordination(tick_ms=500, connections_per_address_max=60),
    )


def test_a_flag_overrides_its_key_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'id = 1\ndata = "there"\ncell = "c"\n[ports]\nzookeeper = 1\nconsole = 2\n[coordination]\ntick_ms = 100\n'
        '[voters]\n1 = "127.0.0.1:5"\n2 = "127.0.0.1:6"\n'
    )
    written = load(path)
    assert load(path, changes_of()) == written
    changed = load(path, changes_of(data="here", console_port=3, voters=["1=127.0.0.1:7"]))
    assert changed == NodeConfig(
        id=1,
        voters={"1": "127.0.0.1:7"},
        data="here",
        cell="c",
        ports=Ports(zookeeper=1, console=3),
        coordination=Coordination(tick_ms=100),
    )
    assert load(path, changes_of(base_port=30, zookeeper_port=9)).ports == Ports(zookeeper=9, console=33)
    with pytest.raises(ConfigError, match=r"node.toml and the command line: coordination.tick_ms is 1"):
        load(path, changes_of(tick_ms=1))


def test_flags_that_make_no_configuration_are_refused() -> None:
    with pytest.raises(ConfigError, match="--voter names node 1 twice"):
        changes_of(voters=["1=127.0.0.1:1", "1=127.0.0.1:2"])
    with pytest.raises(ConfigError, match=r"^command line: id 4 is not among the voters"):
        load(None, changes_of(id=4, data="d", voters=["1=127.0.0.1:1"]))


def test_a_node_runs_by_flags_alone(tmp_path: Path) -> None:
    """As far as its ports, one of which nobody may have."""
    said = line(
        "node", "--id", "1", "--data", str(tmp_path / "d"), "--voter", "1=192.0.2.1:2185", "--insecure", "--zookeeper-port", "0"
    )
    assert said.startswith("loggos: cannot listen on 192.0.2.1 for the zookeeper port")
    assert not (tmp_path / "d").exists()


# --- benchmarks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["failover --rounds 0", "failover --hold nan", "coordination --repeats -1", "coordination --seconds 0"]
)
def test_a_benchmark_of_nothing_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words.split())
    assert ended.value.code == 2
    assert "nothing would be measured" in (said := capsys.readouterr().err) or "more than 0 seconds" in said
