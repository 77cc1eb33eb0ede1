"""Runs a scenario under a policy.

Every balancer is an object of its own, a policy alone or with filters and guards around it, and sees nothing of the others. A
request arrives at one of them by chance, which picks, sends, asks for the probes that its policy wants, and hears of the end with
the server's report, or of the failure; then it may try another server.
Networks take no time; what servers and probes take is in the scenario.

Streams of chance: `arrivals`, `works`, `balancers`, `keys`, and `balancer 0`, `balancer 1`, … for what each of them draws.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeAlias

from loggos.balance.farm.bare import Bare, Chooser
from loggos.balance.farm.gauge import Gauge, Meter
from loggos.balance.farm.result import Result, answered
from loggos.balance.farm.scenario import Failure, Kind, Scenario, Server
from loggos.balance.types import Dice, Policy
from loggos.des.arrivals import feed, poisson, recorded
from loggos.des.kernel import Kernel, Timer
from loggos.des.station import FifoStation, SharingStation, Station

Streams: TypeAlias = Callable[[str], Dice]
Make: TypeAlias = Callable[[Dice], Policy | Chooser]


class _Host:
    """A server of the farm while it runs."""

    __slots__ = ("busy_before_s", "endpoint", "meter", "sent", "server", "station")

    def __init__(self, server: Server, station: Station, meter: Meter) -> None:
        self.server = server
        self.endpoint = server.endpoint
        self.station = station
        self.meter = meter
        self.sent = 0
        self.busy_before_s = 0.0  # in the warm-up


class _Try:
    """A request on its way to one server."""

    __slots__ = ("arrived_s", "chooser", "host", "is_open", "key", "number", "sent_s", "ticket", "timer", "tried", "work_s")

    def __init__(self, number: int, chooser: Chooser, arrived_s: float, work_s: float, key: bytes | None) -> None:
        self.number = number
        self.chooser = chooser
        self.arrived_s = arrived_s  # at the balancer
        self.work_s = work_s
        self.key = key
        self.tried: tuple[str, ...] = ()  # servers that failed it before
        self.host: _Host
        self.sent_s = arrived_s
        self.ticket: object = None
        self.timer: Timer | None = None
        self.is_open = False  # its balancer waits for the answer

    def again(self) -> _Try:
        """The next try, elsewhere."""
        other = _Try(self.number, self.chooser, self.arrived_s, self.work_s, self.key)
        other.tried = (*self.tried, self.host.endpoint.name)
        return other


class Farm:
    """One run of a scenario. `meter`: what servers measure their own load with."""

    def __init__(self, scenario: Scenario, make: Make, streams: Streams, *, meter: Callable[[], Meter] = Gauge) -> None:
        self._scenario = scenario
        self._streams = streams
        self._kernel = Kernel()
        self._new_meter = meter
        self._hosts = {server.name: self._host(server) for server in scenario.servers}
        self._choosers = [_chooser(make(streams(f"balancer {number}"))) for number in range(scenario.balancers)]
        endpoints = tuple(host.endpoint for host in self._hosts.values())
        for chooser in self._choosers:
            chooser.update(endpoints, 0.0)
        self._chooser_of = streams("balancers").random
        self._work = _works(scenario, streams)
        self._key_of = streams("keys").random
        self._keys = [b"key %d" % number for number in range(scenario.keys)]
        self._arrivals_s = array("d")
        self._latencies_s = array("d", [math.nan]) * scenario.arrivals
        self._arrived = self._failed = self._open = self._probes = 0
        self._warm_s = 0.0
        self._busy_s: list[float] = []

    def run(self) -> Result:
        """Runs to the end of the last request."""
        for failure in self._scenario.failures:
            self._kernel.at(failure.at_s, self._fails, failure)
            if failure.until_s < math.inf:
                self._kernel.at(failure.until_s, self._returns, failure)
        feed(self._kernel, _arrivals(self._scenario, self._streams), self._arrive)
        events = self._kernel.run()
        assert self._arrived == self._scenario.arrivals, "not every request has arrived"
        scenario = self._scenario
        arrived_s, latencies = answered(self._arrivals_s, self._latencies_s, scenario.warm_up, scenario.work.mean_s)
        return Result(
            latencies=latencies,
            arrived_s=arrived_s,
            utilisation=tuple(self._busy_s),
            sent=tuple(host.sent for host in self._hosts.values()),
            failed=self._failed,
            unanswered=self._open,
            probes=self._probes,
            events=events,
        )

    def _host(self, server: Server) -> _Host:
        kind = SharingStation if server.is_sharing else FifoStation
        return _Host(server, kind(self._kernel, self._served, servers=server.workers, speed=server.speed), self._new_meter())

    # --- requests --------------------------------------------------------------------------------------------------------

    def _arrive(self, now_s: float) -> None:
        number = self._arrived
        self._arrived = number + 1
        self._arrivals_s.append(now_s)
        if number == self._scenario.warm_up:
            self._warmed_up(now_s)
        chooser = self._choosers[int(self._chooser_of() * len(self._choosers))]
        key = self._keys[int(self._key_of() * len(self._keys))] if self._keys else None
        work_s = self._work()
        if chooser.may_send(now_s) is None:
            self._send(_Try(number, chooser, now_s, work_s, key), now_s)
        else:
            self._count_failure(number)
        if self._arrived == self._scenario.arrivals:
            self._last_arrived(now_s)

    def _send(self, request: _Try, now_s: float) -> None:
        chooser = request.chooser
        endpoint = chooser.choose(now_s, request.key, request.tried)
        if endpoint is None:
            self._count_failure(request.number)
            return
        name = endpoint.name
        request.host = host = self._hosts[name]
        request.sent_s = now_s
        request.is_open = True
        host.sent += 1
        self._open += 1
        chooser.started(name, now_s, again=bool(request.tried))
        is_up = host.station.is_up
        if is_up:
            request.ticket = host.meter.started(now_s)
            host.station.arrive(request.work_s, request)
            if self._scenario.timeout_s < math.inf:
                request.timer = self._kernel.timer(self._scenario.timeout_s, self._fail, request)
        for asked in chooser.probes_wanted(now_s):
            self._probe(chooser, asked)
        if not is_up:
            self._fail(request)  # refused at once

    def _served(self, request: _Try | None) -> None:
        if request is None:
            return  # the work of a probe
        now_s, host = self._kernel.now_s, request.host
        host.meter.finished(request.ticket, now_s)
        if request.is_open:  # otherwise it was given up
            self._close(request)
            self._latencies_s[request.number] = now_s - request.arrived_s
            report = host.meter.report(now_s)
            request.chooser.finished(host.endpoint.name, now_s, now_s - request.sent_s, True, report)

    def _fail(self, request: _Try) -> None:
        """It was refused, lost or takes too long: once more elsewhere, if that is allowed."""
        now_s, chooser = self._kernel.now_s, request.chooser
        self._close(request)
        chooser.finished(request.host.endpoint.name, now_s, now_s - request.sent_s, False)
        if len(request.tried) + 1 < self._scenario.tries and chooser.may_retry(now_s):
            self._send(request.again(), now_s)
        else:
            self._count_failure(request.number)

    def _close(self, request: _Try) -> None:
        assert request.is_open, "a request ended twice"
        request.is_open = False
        self._open -= 1
        if request.timer is not None:
            self._kernel.cancel(request.timer)

    def _count_failure(self, number: int) -> None:
        self._failed += number >= self._scenario.warm_up

    # --- probes ----------------------------------------------------------------------------------------------------------

    def _probe(self, chooser: Chooser, name: str) -> None:
        self._probes += 1
        asked = (chooser, self._hosts[name])
        if self._scenario.probe_delay_s:
            self._kernel.after(self._scenario.probe_delay_s / 2.0, self._looked_at, asked)
        else:
            self._looked_at(asked)

    def _looked_at(self, asked: tuple[Chooser, _Host]) -> None:
        chooser, host = asked
        if not host.station.is_up or host.station.speed == 0.0:
            return  # no answer
        now_s = self._kernel.now_s
        report = host.meter.report(now_s)
        if self._scenario.probe_work_s:
            host.station.arrive(self._scenario.probe_work_s, None)
        name = host.endpoint.name
        if self._scenario.probe_delay_s:
            answer = lambda _: chooser.probed(name, self._kernel.now_s, report)
            self._kernel.after(self._scenario.probe_delay_s / 2.0, answer)
        else:
            chooser.probed(name, now_s, report)

    # --- failures --------------------------------------------------------------------------------------------------------

    def _fails(self, failure: Failure) -> None:
        host = self._hosts[failure.server]
        if failure.kind is Kind.DIES:
            host.meter = self._new_meter()
            for request in host.station.fail():
                if request is not None and request.is_open:
                    self._fail(request)
        else:
            host.station.set_speed(host.server.speed * failure.factor if failure.kind is Kind.SLOWS else 0.0)
        self._notice_later(failure)

    def _returns(self, failure: Failure) -> None:
        station = self._hosts[failure.server].station
        if failure.kind is Kind.DIES:
            station.repair()
        else:
            station.set_speed(self._hosts[failure.server].server.speed)
        self._notice_later(failure)

    def _notice_later(self, failure: Failure) -> None:
        """Whoever answers slowly still answers: only death and silence are noticed."""
        if failure.kind is not Kind.SLOWS and self._scenario.noticed_after_s < math.inf:
            self._kernel.after(self._scenario.noticed_after_s, self._notice, self._hosts[failure.server])

    def _notice(self, host: _Host) -> None:
        for chooser in self._choosers:
            chooser.mark(host.endpoint.name, host.station.is_up and host.station.speed > 0.0)

    # --- measuring -------------------------------------------------------------------------------------------------------

    def _warmed_up(self, now_s: float) -> None:
        self._warm_s = now_s
        for host in self._hosts.values():
            host.busy_before_s = host.station.busy_s

    def _last_arrived(self, now_s: float) -> None:
        passed_s = now_s - self._warm_s
        for host in self._hosts.values():
            busy_s = host.station.busy_s - host.busy_before_s
            self._busy_s.append(busy_s / (passed_s * host.server.workers) if passed_s else 0.0)


def _works(scenario: Scenario, streams: Streams) -> Callable[[], float]:
    if scenario.recording is not None and scenario.recording.works_s:
        return iter(scenario.recording.works_s).__next__
    return scenario.work.sampler(streams("works"))


def _arrivals(scenario: Scenario, streams: Streams) -> Iterator[float]:
    if scenario.recording is not None:
        return recorded(scenario.recording.arrivals_s)
    return islice(poisson(scenario.rate_per_s, streams("arrivals")), scenario.requests)


def _chooser(made: Policy | Chooser) -> Chooser:
    return Bare(made) if isinstance(made, Policy) else made


def run(scenario: Scenario, make: Make, streams: Streams, *, meter: Callable[[], Meter] = Gauge) -> Result:
    """What a scenario shows under a policy: a function of its arguments, the same every time.

    make     gives a balancer its policy, or the whole `Balancer`, with a stream of chance of its own; called in their order
    streams  the stream for a purpose: `lambda purpose: random.Random(f"{seed} {purpose}")`
    meter    what servers measure their own load with
    """
    return Farm(scenario, make, streams, meter=meter).run()
