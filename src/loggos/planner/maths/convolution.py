"""Closed networks whose stations may have several servers, exactly: normalisation constants by convolution, in logarithms.

The weight of n customers (a vector over classes) at a station is F(n) = |n|! prod(D_r^n_r / n_r!) / prod_{j<=|n|} min(j, m); the
constants of the network are the convolution of its stations'. Every term is positive, so nothing cancels, as it does in the mean
value analysis of such stations near saturation; logarithms keep it from overflowing. Cost: the square of the population vectors.
Source: Buzen (1973); Bolch, Greiner, de Meer, Trivedi, Queueing Networks and Markov Chains (2nd ed.), section 8.1.
"""

from __future__ import annotations

import math

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_CONVOLUTION_STATES_MAX
from loggos.planner.maths.network import DELAY, Solution, solution
from loggos.planner.types import Floats


def solve(demands: Floats, people: Floats, thinking: Floats, counts: Floats) -> Solution:
    """Several classes; arguments checked by the caller (mva.closed_classes)."""
    weights = _weights(demands, people, thinking, counts)
    constants = _product(weights)
    whole = tuple(int(number) for number in people)
    throughput = np.zeros(len(whole))
    for index, number in enumerate(whole):
        if number:
            throughput[index] = math.exp(constants[_less(whole, index)] - constants[whole])
    residence = np.zeros_like(demands)
    for station in range(demands.shape[1]):
        others = _product(weights[:station] + weights[station + 1 :])
        # the probability of n here is F(n) G'(N - n) / G(N), G' the constants without this station
        shares = np.exp(weights[station] + np.flip(others) - constants[whole])
        for index in range(len(whole)):
            here = float(np.tensordot(shares, np.indices(shares.shape)[index], shares.ndim))
            residence[index, station] = here / throughput[index] if throughput[index] > 0 else 0.0
    return solution(throughput, residence, demands, counts)


def solve_single(demands: Floats, users: int, think_s: float, counts: Floats) -> list[Solution]:
    """One class, for every population from 1 up to `users`; arguments checked by the caller (mva.curve)."""
    weights = _weights(demands[None, :], np.array([users]), np.array([think_s]), counts)
    constants = _product(weights)
    throughputs = np.exp(constants[:-1] - constants[1:])
    inside = np.zeros((users, demands.size))
    for station in range(demands.size):
        others = _product(weights[:station] + weights[station + 1 :])
        counted = weights[station] + np.log(np.maximum(np.arange(users + 1), 1e-300))
        counted[0] = -np.inf
        inside[:, station] = np.exp(_convolve(counted, others) - constants)[1:]
    return [
        solution(throughputs[row : row + 1], (inside[row] / throughputs[row])[None, :], demands[None, :], counts)
        for row in range(users)
    ]


def _weights(demands: Floats, people: Floats, thinking: Floats, counts: Floats) -> list[Floats]:
    """log F of every station over all population vectors, and of thinking as one more delay station, the last."""
    shape = tuple(int(number) + 1 for number in people)
    states = math.prod(shape)
    if states > PLANNER_CONVOLUTION_STATES_MAX:
        raise InputError(
            f"an exact analysis of stations with several servers takes {states:,} population vectors, more than"
            f" {PLANNER_CONVOLUTION_STATES_MAX:,}: use schweitzer, or fewer classes"
        )
    vectors = np.indices(shape)
    totals = vectors.sum(axis=0)
    numbered = np.arange(1, int(totals.max()) + 1)
    log_factorials = np.concatenate(([0.0], np.cumsum(np.log(numbered))))
    times = np.column_stack([demands, thinking])
    answer = []
    for station, count in enumerate([*counts, DELAY]):
        working = numbered if count == DELAY else np.minimum(numbered, count)
        log_rates = np.concatenate(([0.0], np.cumsum(np.log(working))))
        weight = log_factorials[totals] - log_rates[totals]
        for numbers, time in zip(vectors, times[:, station], strict=True):
            log_time = math.log(time) if time > 0 else -1e300  # so that 0 customers of it still weigh 1
            weight = weight + np.where(numbers > 0, numbers * log_time, 0.0) - log_factorials[numbers]
        answer.append(weight)
    return answer


def _product(weights: list[Floats]) -> Floats:
    answer = weights[0]
    for weight in weights[1:]:
        answer = _convolve(answer, weight)
    return answer


def _convolve(left: Floats, right: Floats) -> Floats:
    """log of the sums over n of exp(left[n] + right[N - n]), for every N."""
    answer = np.empty_like(left)
    for whole in np.ndindex(left.shape):
        part = tuple(slice(0, number + 1) for number in whole)
        terms = left[part] + np.flip(right[part])
        largest = terms.max()
        answer[whole] = largest + math.log(np.exp(terms - largest).sum()) if largest > -1e299 else largest
    return answer


def _less(whole: tuple[int, ...], index: int) -> tuple[int, ...]:
    return (*whole[:index], whole[index] - 1, *whole[index + 1 :])
