"""The balancer: filters asked only when something changed, the order of filters, guards around the policy, probes passed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.balancer import Balancer, Refusal
from loggos.balance.filters.breakers import Breakers
from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.filters.slow_start import SlowStart
from loggos.balance.filters.zone import ZoneAware
from loggos.balance.guards.breaker import Breaker
from loggos.balance.guards.budget import RetryBudget
from loggos.balance.guards.concurrency import AimdLimit, GradientLimit
from loggos.balance.guards.deadline import Deadline
from loggos.balance.guards.hedging import Hedging
from loggos.balance.policies import POLICIES, make
from loggos.balance.types import Endpoint, Policy, Report
from loggos.base.errors import ConfigError


def servers(count: int, zones: str = "") -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"s{number}", zone=zones[number % len(zones)] if zones else "") for number in range(count))


class Recording(Policy):
    """Chooses the first, and remembers what it was asked and told."""

    def __init__(self) -> None:
        self.views: list[Sequence[Endpoint]] = []
        self.told: list[tuple[object, ...]] = []

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self.told.append(("update", len(endpoints)))

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        self.views.append(among)
        return among[0] if among else None

    def started(self, name: str, now_s: float) -> None:
        self.told.append(("started", name))

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        self.told.append(("finished", name, ok, report))

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        return ["s1"]

    def probed(self, name: str, now_s: float, report: Report) -> None:
        self.told.append(("probed", name, report))


def send(balancer: Balancer, now_s: float, ok: bool | None = True, latency_s: float = 0.1) -> str:
    """One request that is over at once."""
    endpoint = balancer.choose(now_s)
    assert endpoint is not None
    balancer.started(endpoint.name, now_s)
    balancer.finished(endpoint.name, now_s, latency_s, ok)
    return endpoint.name


def names(balancer: Balancer, now_s: float) -> list[str]:
    return [endpoint.name for part in balancer.parts(now_s) for endpoint in part.endpoints]


def test_the_view_is_the_same_object_until_something_changes() -> None:
    policy = Recording()
    balancer = Balancer(policy, Random(1), outliers=OutlierEjection(interval_s=1.0))
    balancer.update(servers(4), 0.0)
    for second in range(5):  # the outlier filter is asked each second, and says the same
        send(balancer, float(second))
    assert all(view is policy.views[0] for view in policy.views)
    balancer.mark("s0", False)
    send(balancer, 5.0)
    assert policy.views[-1] is not policy.views[0]
    assert names(balancer, 5.0) == ["s1", "s2", "s3"]
    balancer.mark("s0", False)  # no news
    send(balancer, 5.0)
    assert policy.views[-1] is policy.views[-2]


def test_health_is_ignored_in_panic_but_an_open_breaker_is_not() -> None:
    breakers = Breakers(lambda: Breaker(window=1, requests_min=1, open_s=5.0))
    balancer = Balancer(Recording(), Random(1), panic_below=0.5, breakers=breakers)
    balancer.update(servers(4), 0.0)
    for name in ("s0", "s1", "s2"):
        balancer.mark(name, False)
    assert names(balancer, 0.0) == ["s0", "s1", "s2", "s3"]
    assert balancer.panicking
    assert send(balancer, 0.0, ok=False) == "s0"
    assert names(balancer, 0.0) == ["s1", "s2", "s3"]
    for _ in range(3):
        send(balancer, 0.0, ok=False)
    assert balancer.choose(1.0) is None
    assert balancer.choose(5.0) is not None


def test_half_open_a_server_gets_its_trials_and_no_more() -> None:
    breakers = Breakers(lambda: Breaker(window=1, requests_min=1, open_s=5.0, trials=1))
    balancer = Balancer(Recording(), Random(1), breakers=breakers)
    balancer.update(servers(2), 0.0)
    assert send(balancer, 0.0, ok=False) == "s0"
    assert send(balancer, 4.9) == "s1"
    balancer.choose(5.0)
    balancer.started("s0", 5.0)
    assert send(balancer, 5.0) == "s1"
    balancer.finished("s0", 5.1, 0.1, True)
    assert send(balancer, 5.1) == "s0"


def test_an_outlier_is_left_out_at_once_and_comes_back_in_time() -> None:
    balancer = Balancer(make("round_robin", Random(1)), Random(1), outliers=OutlierEjection(consecutive=2, base_s=30.0))
    balancer.update(servers(4), 0.0)
    for _ in range(8):
        endpoint = balancer.choose(0.0)
        assert endpoint is not None
        balancer.started(endpoint.name, 0.0)
        balancer.finished(endpoint.name, 0.0, 0.1, endpoint.name != "s2")
    assert {send(balancer, 29.9) for _ in range(8)} == {"s0", "s1", "s3"}
    assert {send(balancer, 30.0) for _ in range(8)} == {"s0", "s1", "s2", "s3"}


def test_a_new_server_gets_little_at_first() -> None:
    balancer = Balancer(make("weighted_random", Random(1)), Random(1), slow_start=SlowStart(100.0))
    balancer.update(servers(3), 0.0)
    send(balancer, 0.0)
    balancer.update(servers(4), 1.0)
    young = Counter(send(balancer, 1.0) for _ in range(3_100))
    assert young["s3"] == pytest.approx(100, abs=45)  # a tenth of the others
    grown = Counter(send(balancer, 101.0) for _ in range(4_000))
    assert grown["s3"] == pytest.approx(1_000, abs=150)


def test_requests_stay_in_their_zone_and_spill_by_share() -> None:
    balancer = Balancer(make("round_robin", Random(1)), Random(2), zones=ZoneAware("a"))
    everyone = servers(12, "abc")
    balancer.update(everyone, 0.0)
    assert {everyone[int(send(balancer, 0.0)[1:])].zone for _ in range(50)} == {"a"}
    for endpoint in [one for one in everyone if one.zone == "a"][:2]:
        balancer.mark(endpoint.name, False)
    counts = Counter(send(balancer, 1.0) for _ in range(6_000))
    by_zone = Counter({zone: sum(counts[one.name] for one in everyone if one.zone == zone) for zone in "abc"})
    assert by_zone["a"] == pytest.approx(3_600, abs=150)  # 2 of 10 servers for a third of the clients
    assert by_zone["b"] == pytest.approx(1_200, abs=120)
    inside = [counts[one.name] for one in everyone if one.zone == "b"]
    assert max(inside) - min(inside) <= 1


def test_who_was_tried_is_avoided_while_there_is_anybody_else() -> None:
    balancer = Balancer(make("rendezvous", Random(1)), Random(1), zones=ZoneAware("a", endpoints_min=2))
    balancer.update(servers(4, "ab"), 0.0)
    tried: list[str] = []
    for _ in range(4):
        endpoint = balancer.choose(0.0, b"key", tried)
        assert endpoint is not None
        tried.append(endpoint.name)
    assert sorted(tried[:2]) == ["s0", "s2"]  # the local zone first
    assert sorted(tried[2:]) == ["s1", "s3"]
    again = balancer.choose(0.0, b"key", [endpoint.name for endpoint in servers(4)])
    assert again is not None


def test_nobody_is_nobody() -> None:
    balancer = Balancer(make("p2c", Random(1)), Random(1))
    balancer.update((), 0.0)
    assert balancer.choose(0.0) is None
    assert balancer.choose(0.0, b"key", ["s0"]) is None


def test_requests_over_the_limit_or_too_late_are_refused() -> None:
    balancer = Balancer(Recording(), Random(1), limit=AimdLimit(late_s=1.0, initial=2))
    balancer.update(servers(2), 0.0)
    assert balancer.may_send(0.0) is None
    for _ in range(2):
        balancer.started("s0", 0.0)
    assert balancer.in_flight == 2
    assert balancer.may_send(0.0) is Refusal.OVER_LIMIT
    for latency_s in (0.5, 0.9):
        balancer.finished("s0", 0.5, latency_s, True)
    assert balancer.may_send(0.5, Deadline.after(0.5, 0.5)) is None
    assert balancer.may_send(0.5, Deadline.after(0.5, 0.4)) is Refusal.TOO_LATE  # half of the answers take 0.5
    assert balancer.may_send(2.0, Deadline.after(0.5, 1.0)) is Refusal.TOO_LATE


def test_retries_come_out_of_the_budget_of_first_requests() -> None:
    balancer = Balancer(Recording(), Random(1), retries=RetryBudget(share=0.5, per_s_min=0.0))
    balancer.update(servers(2), 0.0)
    for again in (False, False, False, False, True, True):
        balancer.started("s0", 0.0, again=again)
    assert [balancer.may_retry(0.0) for _ in range(3)] == [True, True, False]
    assert not Balancer(Recording(), Random(1)).may_retry(0.0)


def test_a_retry_that_may_not_be_sent_takes_nothing() -> None:
    balancer = Balancer(
        Recording(), Random(1), retries=RetryBudget(share=0.0, per_s_min=0.1), limit=AimdLimit(late_s=1.0, initial=1)
    )
    balancer.update(servers(2), 0.0)
    balancer.started("s0", 0.0)
    assert not balancer.may_retry(0.0)
    balancer.finished("s0", 0.1, 0.1, True)
    assert not balancer.may_retry(0.1, Deadline(0.0))
    assert balancer.may_retry(0.1)
    assert not balancer.may_retry(0.1)


def test_a_second_copy_waits_for_the_quantile() -> None:
    hedging = Hedging(samples_min=10, share=0.1, per_s_min=0.0)
    balancer = Balancer(Recording(), Random(1), hedging=hedging)
    balancer.update(servers(2), 0.0)
    assert balancer.hedge_delay_s() is None
    for number in range(20):
        send(balancer, 0.0, latency_s=(number + 1) / 100)
    assert balancer.hedge_delay_s() == 0.19
    assert [balancer.may_hedge(0.0) for _ in range(3)] == [True, True, False]
    assert Balancer(Recording(), Random(1)).hedge_delay_s() is None
    assert not Balancer(Recording(), Random(1)).may_hedge(0.0)


def test_what_was_given_up_teaches_no_guard_and_no_filter() -> None:
    policy = Recording()
    limit = AimdLimit(late_s=1.0, initial=10)
    balancer = Balancer(
        policy,
        Random(1),
        outliers=OutlierEjection(consecutive=1),
        breakers=Breakers(lambda: Breaker(window=1, requests_min=1)),
        limit=limit,
        hedging=Hedging(samples_min=1),
    )
    balancer.update(servers(4), 0.0)
    send(balancer, 0.0, ok=None, latency_s=9.0)
    assert names(balancer, 0.0) == ["s0", "s1", "s2", "s3"]
    assert balancer.hedge_delay_s() is None
    assert limit.limit == 10
    assert policy.told[-1] == ("finished", "s0", False, None)
    assert balancer.in_flight == 0


def test_policy_hears_everything() -> None:
    policy = Recording()
    balancer = Balancer(policy, Random(1))
    balancer.update(servers(2), 0.0)
    report = Report(3, 0.2)
    assert balancer.choose(0.0) == servers(2)[0]
    balancer.started("s0", 0.0)
    assert balancer.probes_wanted(0.0) == ["s1"]
    balancer.probed("s1", 0.0, report)
    balancer.finished("s0", 0.1, 0.1, True, report)
    assert policy.told == [("update", 2), ("started", "s0"), ("probed", "s1", report), ("finished", "s0", True, report)]


def test_end_points_are_checked() -> None:
    balancer = Balancer(Recording(), Random(1))
    with pytest.raises(ConfigError, match="'a' is there twice"):
        balancer.update([Endpoint("a"), Endpoint("b"), Endpoint("a")], 0.0)
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="'a' has weight"):
            balancer.update([Endpoint("a", weight)], 0.0)
    with pytest.raises(AssertionError, match="not started"):
        balancer.finished("a", 0.0, 0.1, True)


Event = tuple[str, int, float]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "end", "fail", "drop", "mark", "members"]), st.integers(0, 99), st.floats(0, 3)
    ),
    max_size=100,
)


@pytest.mark.parametrize("name", POLICIES)
@given(events=EVENTS)
def test_with_everything_on_it_chooses_only_from_its_parts(name: str, events: list[Event]) -> None:
    balancer = Balancer(
        make(name, Random(1), **({"size": 101} if name == "maglev" else {})),
        Random(2),
        outliers=OutlierEjection(consecutive=2, base_s=3.0, interval_s=5.0),
        breakers=Breakers(lambda: Breaker(window=3, requests_min=2, open_s=2.0, trials=1)),
        slow_start=SlowStart(5.0),
        zones=ZoneAware("a"),
        retries=RetryBudget(),
        hedging=Hedging(),
        limit=GradientLimit(most=20),
    )
    balancer.update(servers(9, "abc"), 0.0)
    out: list[tuple[str, float]] = []
    now_s = 0.0
    for what, number, gap_s in events:
        now_s += gap_s
        if what == "members":
            balancer.update(servers(number % 10, "abc"), now_s)
        elif what == "mark":
            balancer.mark(f"s{number % 9}", number % 2 == 0)
        elif what == "send":
            endpoint = balancer.choose(now_s, b"%d" % number if number % 2 else None)
            assert (endpoint is None) == (not names(balancer, now_s))
            if endpoint is not None:
                assert endpoint.name in names(balancer, now_s)
                balancer.started(endpoint.name, now_s)
                out.append((endpoint.name, now_s))
        elif out:
            sent, sent_s = out.pop(number % len(out))
            balancer.finished(sent, now_s, now_s - sent_s, {"end": True, "fail": False, "drop": None}[what])
        assert balancer.in_flight == len(out)
