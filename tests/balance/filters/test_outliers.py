"""Outlier ejection: who fails alone goes for a while, longer each time, and never too many at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.types import Endpoint
from loggos.base.errors import ConfigError

from .test_health import names, servers


def ejection(count: int, **options: float) -> tuple[OutlierEjection, tuple[Endpoint, ...]]:
    filter_ = OutlierEjection(**options)  # type: ignore[arg-type]
    filter_.update(servers(count), 0.0)
    filter_.apply(servers(count), 0.0)
    return filter_, servers(count)


def results(filter_: OutlierEjection, name: str, oks: Sequence[bool], now_s: float = 0.0) -> list[bool]:
    return [filter_.finished(name, now_s, 0.1, ok) for ok in oks]


def test_failures_in_a_row_eject_at_once() -> None:
    filter_, everyone = ejection(4, consecutive=3)
    assert results(filter_, "s1", [False, False, True, False, False]) == [False] * 5
    assert results(filter_, "s1", [False]) == [True]
    assert names(filter_.apply(everyone, 0.0)) == ["s0", "s2", "s3"]
    assert filter_.ejected() == ("s1",)
    assert results(filter_, "s1", [False] * 3) == [False] * 3  # out already


def test_what_was_given_up_is_no_failure() -> None:
    filter_, _ = ejection(4, consecutive=1)
    assert not filter_.finished("s1", 0.0, 0.1, None)
    assert not filter_.finished("gone", 0.0, 0.1, False)
    assert filter_.ejected() == ()


def test_each_time_in_a_row_it_is_out_for_longer_up_to_the_longest() -> None:
    filter_, everyone = ejection(4, consecutive=1, base_s=30.0, longest_s=70.0, interval_s=1e6)
    now_s = 0.0
    for expected_s in (30.0, 60.0, 70.0, 70.0):
        results(filter_, "s1", [False], now_s)
        assert filter_.changes_at_s() == now_s + expected_s
        assert len(filter_.apply(everyone, now_s + expected_s - 0.01)) == 3
        now_s += expected_s
        assert len(filter_.apply(everyone, now_s)) == 4
        now_s += 1.0


def test_who_is_back_has_a_clean_sheet() -> None:
    filter_, everyone = ejection(4, consecutive=3, base_s=30.0)
    assert results(filter_, "s1", [False] * 3) == [False, False, True]
    assert len(filter_.apply(everyone, 30.0)) == 4
    assert results(filter_, "s1", [False] * 3, 30.0) == [False, False, True]


def test_intervals_without_ejection_are_forgiven() -> None:
    filter_, everyone = ejection(4, consecutive=1, base_s=30.0, interval_s=10.0)
    results(filter_, "s1", [False], 0.0)
    for now_s in range(10, 61, 10):
        filter_.apply(everyone, float(now_s))  # out to 30; then forgiven
    results(filter_, "s1", [False], 60.0)
    filter_.apply(everyone, 60.0)
    assert len(filter_.apply(everyone, 89.9)) == 3
    assert len(filter_.apply(everyone, 90.0)) == 4


def test_success_rates_far_below_the_mean_eject_at_the_end_of_the_interval() -> None:
    filter_, everyone = ejection(10, consecutive=1_000, requests_min=20)
    for number in range(10):
        # s9: 60 % good; the others 95 %: mean 0.915, deviation 0.105, bound 0.7155
        results(filter_, f"s{number}", ([True, True, False, True, False] * 4 if number == 9 else [True] * 19 + [False]))
    assert len(filter_.apply(everyone, 9.9)) == 10
    assert names(filter_.apply(everyone, 10.0)) == names(everyone[:9])


@pytest.mark.parametrize(("count", "requests"), [(4, 20), (10, 19)])
def test_success_rates_say_nothing_about_few_hosts_or_few_requests(count: int, requests: int) -> None:
    filter_, everyone = ejection(count, consecutive=1_000, requests_min=20)
    for number in range(count):
        results(filter_, f"s{number}", [number != 1] * requests)
    assert len(filter_.apply(everyone, 10.0)) == count


def test_counts_begin_anew_with_each_interval() -> None:
    filter_, everyone = ejection(6, consecutive=1_000, requests_min=20)
    for now_s in (0.0, 10.0):
        for number in range(6):
            results(filter_, f"s{number}", [number != 1] * 10, now_s)
        filter_.apply(everyone, now_s + 10.0)
    assert filter_.ejected() == ()


def test_the_worst_goes_first_when_there_is_room_for_one() -> None:
    filter_, everyone = ejection(12, consecutive=1_000, requests_min=20, share_max=0.1, deviations=1.0)
    for number in range(12):
        bad = {3: 8, 7: 12}.get(number, 0)
        results(filter_, f"s{number}", [False, True] * bad + [True] * (40 - 2 * bad))
    filter_.apply(everyone, 10.0)
    assert filter_.ejected() == ("s7",)  # s3 is below the bound of 0.86, too


def test_with_fewer_end_points_those_back_soonest_are_back_now() -> None:
    filter_, _ = ejection(8, consecutive=1, share_max=0.5)
    for name, now_s in (("s0", 0.0), ("s2", 1.0), ("s1", 2.0)):
        assert results(filter_, name, [False], now_s) == [True]
    filter_.update(servers(4), 3.0)
    assert filter_.ejected() == ("s1", "s2")
    filter_.update(servers(1), 4.0)
    assert filter_.ejected() == ()


Event = tuple[str, int, float]


@given(
    share=st.floats(0, 1),
    count=st.integers(1, 10),
    events=st.lists(
        st.tuples(st.sampled_from(["fail", "fail", "ok", "members"]), st.integers(0, 9), st.floats(0, 20)), max_size=80
    ),
)
def test_never_more_than_the_share_is_out(share: float, count: int, events: list[Event]) -> None:
    filter_ = OutlierEjection(consecutive=1, share_max=share, requests_min=1, hosts_min=2, base_s=25.0)
    members = servers(count)
    filter_.update(members, 0.0)
    now_s = 0.0
    for what, place, gap_s in events:
        now_s += gap_s
        if what == "members":
            members = servers(place + 1)
            filter_.update(members, now_s)
        else:
            filter_.finished(f"s{place}", now_s, 0.1, what == "ok")
        through = filter_.apply(members, now_s)
        assert len(members) - len(through) == len(filter_.ejected()) <= share * len(members)
        assert filter_.changes_at_s() > now_s


def test_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match="share_max"):
        OutlierEjection(share_max=1.1)
    with pytest.raises(ConfigError, match="longest_s"):
        OutlierEjection(base_s=30.0, longest_s=20.0)
