"""Who is in a pool: what users may hand over, checked and made into end points.

A pool takes addresses ("host:port"), `Endpoint` objects (whose name may be anything unique), or a source of them that is asked
again and again: a function, a coroutine function, or an asynchronous iterator that tells every change. Pure but for asking.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from math import isfinite

from loggos.balance.types import Endpoint
from loggos.base.errors import ConfigError
from loggos.base.limits import POOL_ENDPOINTS_MAX

Members = Iterable[str | Endpoint]
Ask = Callable[[], Members | Awaitable[Members]]
Source = Members | Ask | AsyncIterable[Members]


def split_address(name: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port". ConfigError: it is neither."""
    host, colon, port = name.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"end point {name!r}: an IPv6 address with a port is written [address]:port")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536) or "/" in host or " " in host:
        raise ConfigError(f"end point {name!r} is no address: write host:port, with a port from 1 to 65535")
    return host, int(port)


def checked(members: Members) -> list[Endpoint]:
    """End points, in the order given. ConfigError names the one that cannot be used."""
    if isinstance(members, (str, bytes)):
        raise ConfigError(f"end points are a list of addresses, not one text: write [{members!r}]")
    endpoints: dict[str, Endpoint] = {}
    for member in members:
        if isinstance(member, str):
            split_address(member)
            endpoint = Endpoint(member)
        elif isinstance(member, Endpoint):
            endpoint = member
        else:
            raise ConfigError(f"end point {member!r} is a {type(member).__name__}: give an address or an Endpoint")
        if not endpoint.name:
            raise ConfigError(f"{endpoint!r} has no name: requests could not be told where to go")
        if not (endpoint.weight > 0 and isfinite(endpoint.weight)):
            raise ConfigError(f"end point {endpoint.name}: weight {endpoint.weight} must be above 0; leave out what gets nothing")
        if endpoint.name in endpoints:
            raise ConfigError(f"end point {endpoint.name} is given twice: for a larger share give it more weight")
        endpoints[endpoint.name] = endpoint
        if len(endpoints) > POOL_ENDPOINTS_MAX:
            raise ConfigError(f"more than {POOL_ENDPOINTS_MAX} end points in one pool: give each client a subset of them")
    return list(endpoints.values())


async def asked(ask: Ask) -> Sequence[Endpoint]:
    """The members that the source names now. A plain function runs in a worker thread: it may block (DNS, a file)."""
    if inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(type(ask).__call__):
        answer = ask()
    else:
        answer = await asyncio.to_thread(ask)
    return checked(await answer if inspect.isawaitable(answer) else answer)
