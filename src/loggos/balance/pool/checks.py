"""Asking end points how they are: health checks (does it answer?) and probes (how busy is it?).

    health=TcpCheck()                    a connection can be opened
    health=HttpCheck("/healthz")         a GET answers with a status that is expected
    probe=HttpProbe()                    a GET answers with the header `endpoint-load-metrics` (middleware/header.py)
    probe=my_probe                       any `async def my_probe(endpoint) -> Report | None`

They do I/O and nothing else: when to ask is the pool's business, and what follows from the answers the policy's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from loggos.balance.middleware.header import HEADER, PROBE_PATH, parse_report
from loggos.balance.pool.http1 import Getter
from loggos.balance.pool.members import split_address
from loggos.balance.types import Endpoint, Report
from loggos.base.errors import ConfigError
from loggos.base.limits import HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, PROBE_TIMEOUT_S

Probe = Callable[[Endpoint], Awaitable[Report | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How often to ask, how long to wait, and how many answers in a row change a verdict."""

    interval_s: float = HEALTH_INTERVAL_S
    timeout_s: float = HEALTH_TIMEOUT_S
    fall: int = 2  # failures in a row until it is unhealthy
    rise: int = 1  # successes in a row until it is healthy again

    def __post_init__(self) -> None:
        if not (self.interval_s > 0 and self.timeout_s > 0):
            raise ConfigError(f"health check: interval_s {self.interval_s} and timeout_s {self.timeout_s} must be above 0")
        if self.fall < 1 or self.rise < 1:
            raise ConfigError(f"health check: fall {self.fall} and rise {self.rise} are counts of at least 1")

    async def ask(self, endpoint: Endpoint) -> None:
        """Returns: it is well. OSError (TimeoutError among them): it is not, and why."""
        raise OSError("a Check alone asks nothing: use TcpCheck or HttpCheck")

    def close(self) -> None:
        """Lets go of connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(Check):
    """Well if a connection can be opened."""

    async def ask(self, endpoint: Endpoint) -> None:
        host, port = split_address(endpoint.name)
        async with asyncio.timeout(self.timeout_s):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()


@dataclass(frozen=True, slots=True)
class HttpCheck(Check):
    """Well if a GET of `path` answers with one of `statuses`."""

    path: str = PROBE_PATH
    statuses: Collection[int] = range(200, 400)
    tls: ssl.SSLContext | None = None
    host: str | None = None  # the Host header; by default the address
    _getter: Getter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        Check.__post_init__(self)
        object.__setattr__(self, "_getter", Getter(self.path, tls=self.tls, host=self.host))

    async def ask(self, endpoint: Endpoint) -> None:
        async with asyncio.timeout(self.timeout_s):
            answer = await self._getter.get(endpoint.name)
        if answer.status not in self.statuses:
            raise OSError(f"GET {self.path} answered {answer.status}")

    def close(self) -> None:
        self._getter.close()


class HttpProbe:
    """Asks the probe path of the middleware for the load. None: the answer holds no report."""

    def __init__(
        self,
        path: str = PROBE_PATH,
        *,
        timeout_s: float = PROBE_TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        host: str | None = None,
    ) -> None:
        if timeout_s <= 0:
            raise ConfigError(f"probe: timeout_s {timeout_s} must be above 0")
        self._timeout_s = timeout_s
        self._getter = Getter(path, tls=tls, host=host)

    async def __call__(self, endpoint: Endpoint) -> Report | None:
        async with asyncio.timeout(self._timeout_s):
            answer = await self._getter.get(endpoint.name)
        return parse_report(answer.headers.get(HEADER))

    def close(self) -> None:
        self._getter.close()
