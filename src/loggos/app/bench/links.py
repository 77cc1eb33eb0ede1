"""The network between the nodes, under control: a delay on it, or one node cut off from the others, though not from its clients.

How: a private network name space (nothing of the machine's own network is touched, and it vanishes with its last process), in it
a redirect rule for the nodes' peer ports, and behind that a `relay`. So no system has to be configured for it, and both get the
same treatment. It needs Linux, root, `ip` and `nft`; `unavailable()` says what is missing; benchmarks then say "not measured".
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from types import TracebackType
from typing import Final

import msgspec

from loggos.app.bench import relay
from loggos.app.clusters import Cluster, ClusterError
from loggos.app.processes import child_environment, process_tree
from loggos.base.limits import BENCH_STOP_DEADLINE_S

CLONE_NEWNET: Final = 0x40000000
RELAY_PORT: Final = 19_999  # in the private network, where nobody else listens
RULES: Final = """
table ip loggos_bench {{
  chain out {{
    type nat hook output priority -100;
    meta mark != {mark} tcp dport {{ {ports} }} redirect to :{relay}
  }}
}}
"""


def unavailable() -> str:
    """Why a private network cannot be had here; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "it needs root on Linux"
    missing = [program for program in ("ip", "nft", "unshare") if shutil.which(program) is None]
    if missing:
        return f"it needs {' and '.join(missing)}: `apt install iproute2 nftables util-linux`"
    rules = RULES.format(mark=relay.MARK, ports="1", relay=RELAY_PORT)
    tried = subprocess.run(["unshare", "-n", "nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if tried.returncode == 0:
        return ""
    return f"this machine does not permit it: {(tried.stderr.splitlines() or ['unshare failed'])[0]}"


class Links:
    """While entered, this thread and what it starts live in a private network; the clusters' peer traffic goes through a relay.

    With no clusters it does nothing. Must be entered before the clusters are started, and left after they are stopped.
    """

    def __init__(self, clusters: list[Cluster], delay_ms: float) -> None:
        self.clusters, self.delay_ms = clusters, delay_ms
        self.process: subprocess.Popen[bytes] | None = None
        self.outside = -1
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Links:
        if self.clusters:
            self.outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self.check(self.libc.unshare(CLONE_NEWNET), "unshare")
            try:
                self.set_up()
            except BaseException:
                self.tear_down()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.clusters:
            self.tear_down()

    def check(self, result: int, call: str) -> None:
        if result:
            raise ClusterError(f"{call}: {os.strerror(ctypes.get_errno())}")

    def set_up(self) -> None:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
        nodes = [(cluster, node) for cluster in self.clusters for node in range(1, len(cluster.addresses) + 1)]
        ports = [str(port) for cluster, node in nodes for port in cluster.peer_ports(node)]
        rules = RULES.format(mark=relay.MARK, ports=", ".join(ports), relay=RELAY_PORT)
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, capture_output=True)
        command = [sys.executable, "-m", "loggos.app.bench.relay"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment())
        self.order(msgspec.json.encode(relay.Plan(port=RELAY_PORT, delay_ms=self.delay_ms)), "ready")

    def tear_down(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.stdin.close()
            try:
                self.process.wait(BENCH_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
        self.check(self.libc.setns(self.outside, CLONE_NEWNET), "setns")
        os.close(self.outside)

    def order(self, line: bytes, wanted: str) -> None:
        """Tell the relay, and wait until it has done it."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or json.loads(answer)["event"] != wanted:
            raise ClusterError("the relay between the nodes has failed")

    def cut(self, cluster: Cluster, node: int) -> None:
        """Hold back all bytes between this node and the others; its clients still reach it."""
        pids = [process.pid for process in process_tree(cluster.pid_of(node))]
        self.order(json.dumps({"cut": pids, "ports": list(cluster.peer_ports(node))}).encode(), "done")

    def heal(self) -> None:
        self.order(b'{"heal": true}', "done")
