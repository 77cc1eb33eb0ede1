"""A process that takes a lock and does as it is told on standard input: `check`, `write PATH DATA`, `careless PATH DATA`,
`release`.
"""

from __future__ import annotations

import sys

import loggos
from loggos.base.errors import LoggosError
from loggos.client import Held, LockLost
from loggos.client.guarded import GuardedTransaction


class Careless:
    """A guard that never asks itself whether the lock is still held: only the server can refuse it."""

    def __init__(self, held: Held) -> None:
        self.path = held.path
        self._held = held

    def check(self) -> None:
        return

    def _refused(self) -> LockLost:
        return LockLost(f"the server refused the holder of token {self._held.token}")


def obey(held: Held, cluster: loggos.Cluster, order: list[str]) -> str:
    if order[0] == "check":
        held.check()
    elif order[0] == "write":
        held.set(order[1], order[2].encode())
    elif order[0] == "careless":
        careless = GuardedTransaction(cluster._session, Careless(held))
        careless.set(order[1], order[2].encode())
        careless.commit()
    elif order[0] == "release":
        held.release()
    return "ok"


def main() -> None:
    hosts, path, timeout_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with loggos.connect(hosts, timeout_s=timeout_s) as cluster:
        held = cluster.lock(path).acquire()
        print(held.token, flush=True)
        for line in sys.stdin:
            try:
                print(obey(held, cluster, line.split()), flush=True)
            except LoggosError as error:
                print(type(error).__name__, flush=True)


if __name__ == "__main__":
    main()
