"""How much load nodes of one type carry within the objective, and what latency a load gives.

Three kinds of evidence, one answer:
- a service time: each node is a station G/G/c with its cores as servers (Allen-Cunneen; exact for M/M/c and M/G/1), and a
  quantile of the response is that of a gamma service after a wait that is exponential for those who wait (exact for M/M/c);
- the scalability law over the requests in one node: R(N) = N / X(N) by Little's law, up to the law's peak;
- the scalability law over nodes: throughput only, it says nothing of latency.
Rules: more load never needs fewer nodes; utilisation stays within `utilisation_max`; what no load meets is a `ZeroLoad`.
Source: planner/maths/queues.py, usl.py; Whitt, Approximations for the GI/G/m queue (1993), section 4, for the wait's tail.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil, exp, inf, log, sqrt
from typing import Final, Literal

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_MEMBERS_MAX
from loggos.planner.maths import queues
from loggos.planner.maths.usl import limit, usl
from loggos.planner.plan.intent import Demand, NodeType, Objective, Quantity, Scaling, Service, estimate

CONSTANT_CV2: Final = 1e-3  # below it a service time counts as constant: the gamma density would be too narrow to compute with
NO_BETA: Final = 1e-18  # a peak beyond 10^9 is none
RANGE_FACTOR: Final = 2.0  # times the largest measured N: as planner/fit, which refuses predictions beyond it
SIGHT: Final = 1e-9  # relative: how closely a load is searched

Level = Literal["low", "value", "high"]
OPPOSITE: Final[dict[Level, Level]] = {"low": "high", "value": "value", "high": "low"}


class ZeroLoad(InputError):
    """The objective is below the latency that a request has when it is alone."""

    def __init__(self, zero_load_ms: float, objective: Objective) -> None:
        self.zero_load_ms = zero_load_ms
        super().__init__(
            f"the objective of {objective.latency_ms:g} ms cannot be met: the {objective.words} of a request that is alone is"
            f" {zero_load_ms:.4g} ms already; relax it above that, or measure what the time goes into"
        )


class Model(ABC):
    """Nodes of one type under one load. Loads in requests per second of all nodes together; latencies in ms."""

    @abstractmethod
    def zero_load_ms(self) -> float:
        """The latency, mean or quantile as the objective says, of a request that is alone."""

    @abstractmethod
    def carried(self, nodes: int) -> float:
        """The most that so many nodes carry within objective and utilisation."""

    @abstractmethod
    def needed(self, load_per_s: float) -> int | None:
        """The fewest nodes that carry this load; None if no number does."""

    @abstractmethod
    def latency_ms(self, load_per_s: float, nodes: int) -> float:
        """Mean or quantile as the objective says; inf beyond saturation; nan where the model says nothing of it."""

    @abstractmethod
    def utilisation(self, load_per_s: float, nodes: int) -> float:
        """The share of what the nodes could do at the most, without objective."""


@dataclass(frozen=True, slots=True)
class Station(Model):
    """Each node a station of `servers` cores, the load split evenly."""

    service_ms: float
    cv2: float
    arrival_cv2: float
    servers: int
    floor_ms: float
    objective: Objective
    utilisation_max: float
    per_node: float = 0.0  # carried by one node; found once by `station`

    def zero_load_ms(self) -> float:
        return self.floor_ms + service_quantile(self.service_ms, self.cv2, self.objective.quantile)

    def carried(self, nodes: int) -> float:
        return nodes * self.per_node

    def needed(self, load_per_s: float) -> int | None:
        return max(1, ceil(load_per_s / self.per_node * (1 - SIGHT)))

    def utilisation(self, load_per_s: float, nodes: int) -> float:
        return load_per_s / nodes * self.service_ms / 1000 / self.servers

    def latency_ms(self, load_per_s: float, nodes: int) -> float:
        load = load_per_s / nodes * self.service_ms / 1000
        if load >= self.servers:
            return inf
        waits = queues.erlang_c(load, self.servers)
        wait_ms = (self.arrival_cv2 + self.cv2) / 2 * self.service_ms / (self.servers - load)  # of those who wait
        if self.objective.quantile is None:
            return self.floor_ms + self.service_ms + waits * wait_ms
        return self.floor_ms + response_quantile(self.service_ms, self.cv2, waits, wait_ms, self.objective.quantile)


def station(
    service: Service, kind: NodeType, demand: Demand, objective: Objective, utilisation_max: float, level: Level
) -> Station:
    """The model of a node type; raises ZeroLoad. `level`: which end of the service time's interval."""
    mean = getattr(estimate(service.mean_ms), level) / kind.speed
    bare = Station(mean, service.cv2, service.arrival_cv2, kind.cores, demand.floor_ms, objective, utilisation_max)
    if bare.zero_load_ms() >= objective.latency_ms:
        raise ZeroLoad(bare.zero_load_ms(), objective)
    low, high = 0.0, utilisation_max * kind.cores / mean * 1000
    if bare.latency_ms(high, 1) > objective.latency_ms:
        while high - low > SIGHT * high:
            middle = (low + high) / 2
            low, high = (low, middle) if bare.latency_ms(middle, 1) > objective.latency_ms else (middle, high)
        high = low
    return Station(mean, service.cv2, service.arrival_cv2, kind.cores, demand.floor_ms, objective, utilisation_max, high)


def service_quantile(mean: float, cv2: float, quantile: float | None) -> float:
    """Of a gamma distribution with this mean and squared coefficient of variation (1: exponential); the mean without quantile."""
    if quantile is None or cv2 < CONSTANT_CV2:
        return mean
    from scipy.special import gammaincinv

    return float(gammaincinv(1 / cv2, quantile)) * mean * cv2


def response_quantile(mean: float, cv2: float, waits: float, wait: float, quantile: float) -> float:
    """Of a service, after an exponential wait of mean `wait` for the share `waits` of the requests. By bisection of the tail."""
    low = service_quantile(mean, cv2, quantile)
    if waits <= 0 or wait <= 0:
        return low
    beyond = 1 - quantile
    high = service_quantile(mean, cv2, 1 - beyond / 2) + max(0.0, -wait * log(beyond / 2 / waits))
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if response_tail(mean, cv2, waits, wait, middle) > beyond else (low, middle)
    return high


def response_tail(mean: float, cv2: float, waits: float, wait: float, at: float) -> float:
    """P(response > at): (1 - C) P(S > t) + C P(S + W > t), S gamma, W exponential of mean `wait`.

    P(S + W > t) = P(S > t) + integral of f_S(s) exp(-(t - s) / w) over s < t, which is an incomplete gamma function where the
    wait is the longer tail, and Kummer's function where the service is.
    """
    if cv2 < CONSTANT_CV2:
        return 1.0 if at < mean else waits * exp(-(at - mean) / wait)
    from scipy.special import gammainc, gammaincc, gammaln, hyp1f1

    shape, scale = 1 / cv2, mean * cv2
    served = float(gammaincc(shape, at / scale))
    gap = 1 / scale - 1 / wait
    if gap * at > 1:
        joined = exp(-at / wait - shape * log(gap * scale)) * float(gammainc(shape, gap * at))
    else:
        start = shape * log(at / scale) - at / scale - float(gammaln(shape + 1))
        joined = exp(start) * float(hyp1f1(1.0, shape + 1, gap * at))
    return served + waits * joined


def peak_load(alpha: float, beta: float) -> float:
    """Where the scalability law is largest: N = sqrt((1 - alpha) / beta); inf if coherency costs next to nothing."""
    return inf if beta < NO_BETA else sqrt(max(0.0, 1 - alpha) / beta)


@dataclass(frozen=True, slots=True)
class Concurrent(Model):
    """Each node follows the scalability law over the requests that are in it."""

    alpha: float
    beta: float
    gamma: float
    floor_ms: float
    objective: Objective
    utilisation_max: float
    reach: float = inf  # the largest N that the measurements speak of

    @property
    def top(self) -> float:
        """The N that carries most, as far as the law was measured."""
        return min(self.reach, peak_load(self.alpha, self.beta))

    @property
    def stretch(self) -> float:
        """From the mean to the objective: of an exponential response, when a quantile is asked for."""
        quantile = self.objective.quantile
        return 1.0 if quantile is None else -log(1 - quantile)

    @property
    def most(self) -> float:
        if self.top == inf:
            return limit(self.alpha, self.gamma)
        return usl(self.top, self.alpha, self.beta, self.gamma)

    def zero_load_ms(self) -> float:
        return self.floor_ms + self.stretch * 1000 / self.gamma

    def concurrency(self, load_per_s: float) -> float:
        """The lower N with X(N) = load: beta X N^2 + (alpha X - beta X - gamma) N + (1 - alpha) X = 0, below the peak."""
        square, linear = self.beta * load_per_s, (self.alpha - self.beta) * load_per_s - self.gamma
        constant = (1 - self.alpha) * load_per_s
        inside = linear * linear - 4 * square * constant
        if linear >= 0 or inside < 0:
            return inf
        return 2 * constant / (-linear + sqrt(inside))

    def per_node(self) -> float:
        """What one node carries: the load whose response meets the objective, or the utilisation's share of the peak."""
        # R(N) gamma = 1 + alpha (N - 1) + beta N (N - 1) may reach this
        patience = (self.objective.latency_ms - self.floor_ms) / 1000 / self.stretch * self.gamma
        square, linear, constant = self.beta, self.alpha - self.beta, 1 - self.alpha - patience
        if square > 0:
            inside = (-linear + sqrt(linear * linear - 4 * square * constant)) / (2 * square)
        else:
            inside = -constant / linear if linear > 0 else inf
        within = self.most if inside >= self.top else usl(inside, self.alpha, self.beta, self.gamma)
        return min(within, self.utilisation_max * self.most)

    def carried(self, nodes: int) -> float:
        return nodes * self.per_node()

    def needed(self, load_per_s: float) -> int | None:
        return max(1, ceil(load_per_s / self.per_node() * (1 - SIGHT)))

    def utilisation(self, load_per_s: float, nodes: int) -> float:
        return load_per_s / nodes / self.most

    def latency_ms(self, load_per_s: float, nodes: int) -> float:
        load = load_per_s / nodes
        inside = max(1.0, self.concurrency(load))
        response_ms = 1000 * inside / usl(inside, self.alpha, self.beta, self.gamma) if inside < inf else inf
        return self.floor_ms + self.stretch * response_ms


@dataclass(frozen=True, slots=True)
class Together(Model):
    """All nodes follow the scalability law over their number: beyond its peak, more nodes carry less."""

    alpha: float
    beta: float
    gamma: float
    utilisation_max: float
    reach: float = inf  # the most nodes that the measurements speak of

    def zero_load_ms(self) -> float:
        return 0.0

    def carried(self, nodes: int) -> float:
        return self.utilisation_max * usl(nodes, self.alpha, self.beta, self.gamma)

    def needed(self, load_per_s: float) -> int | None:
        top = self.best()
        low, high = 0, 1
        while self.carried(high) < load_per_s * (1 - SIGHT):
            if high >= top:
                return None
            low, high = high, min(top, high * 2)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.carried(middle) < load_per_s * (1 - SIGHT) else (low, middle)
        return high

    def best(self) -> int:
        """The number of nodes that carries most, as far as the law was measured."""
        top = min(self.reach, peak_load(self.alpha, self.beta), PLANNER_MEMBERS_MAX)
        return max(int(top), int(min(top + 1, self.reach)), 1, key=self.carried) if top >= 1 else 1

    def utilisation(self, load_per_s: float, nodes: int) -> float:
        return load_per_s / usl(nodes, self.alpha, self.beta, self.gamma)

    def latency_ms(self, load_per_s: float, nodes: int) -> float:
        return float("nan")


def model(demand: Demand, kind: NodeType, objective: Objective, utilisation_max: float, level: Level) -> Model:
    """The model of one node type. `level`: "high" takes the demand at the costly end of its interval. Raises ZeroLoad."""
    if demand.service is not None:
        return station(demand.service, kind, demand, objective, utilisation_max, level)
    scaling = demand.scaling
    assert scaling is not None, "measured points are fitted before they are planned with"
    return scaled(scaling, kind, demand, objective, utilisation_max, level)


def scaled(scaling: Scaling, kind: NodeType, demand: Demand, objective: Objective, utilisation_max: float, level: Level) -> Model:
    def at(quantity: Quantity, end: Level) -> float:
        return float(getattr(estimate(quantity), end))

    alpha, beta = at(scaling.alpha, level), at(scaling.beta, level)
    gamma = at(scaling.gamma, OPPOSITE[level]) * kind.speed
    reach = inf if scaling.measured_to is None else RANGE_FACTOR * scaling.measured_to
    if scaling.over == "nodes":
        return Together(alpha, beta, gamma, utilisation_max, reach)
    found = Concurrent(alpha, beta, gamma, demand.floor_ms, objective, utilisation_max, reach)
    if found.zero_load_ms() >= objective.latency_ms:
        raise ZeroLoad(found.zero_load_ms(), objective)
    return found
