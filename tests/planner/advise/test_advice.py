"""Advice: what fits, what is planned, what is beyond Loggos, and what is given up; and the same needs asked one by one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.advise.advice import Advice, Verdict, advise
from loggos.planner.advise.needs import USES, Needs, parse
from loggos.planner.advise.questions import QUESTIONS, needs_of, value
from loggos.planner.advise.rules import RULES, WANTED_BY
from loggos.planner.advise.sample import SAMPLE_NEEDS, sample_needs
from loggos.planner.advise.services import SERVICES


def verdict(advice: Advice, name: str) -> Verdict:
    return next(verdict for verdict in advice.verdicts if verdict.service.name == name)


def test_the_sample_application() -> None:
    advice = advise(sample_needs())
    answers = {verdict.service.name: verdict.answer for verdict in advice.verdicts}
    assert answers == {"coordination": "use it", "streams": "use it when it is built", "balance": "use it"}
    assert verdict(advice, "streams").instead == "Apache Kafka or Redpanda"
    assert advice.meets and not advice.fits
    assert "coordination" in advice.summary and "not built yet: streams" in advice.summary
    assert advice.layouts[0].voters == (1, 1, 1) and advice.layouts[0].leader == "frankfurt"


def test_a_lock_service_fits_today() -> None:
    advice = advise(Needs(uses=["locks"]))
    assert advice.fits
    assert any("fencing tokens" in line for line in verdict(advice, "coordination").why)


@pytest.mark.parametrize(
    ("needs", "service", "said"),
    [
        (Needs(uses=["configuration"], data_gb=50), "coordination", "in every node's memory"),
        (Needs(uses=["locks"], writes_per_s=500_000), "coordination", "shard the data over several cells"),
        (Needs(uses=["configuration"], item_kb=5_000, data_gb=1), "coordination", "one request is at most 1,024 KB"),
        (Needs(uses=["membership"], clients=50_000), "coordination", "sessions"),
        (Needs(uses=["locks"], regions=["a", "b", "c"], survive="region", latency_ms=20), "coordination", "give up its survival"),
        (Needs(uses=["events"], writes_per_s=1_000_000), "streams", "use Kafka or Redpanda"),
        (Needs(uses=["files"], data_gb=500_000), "files", "use HDFS or an object store"),
        (Needs(uses=["batch"], data_gb=500_000), "jobs", "Apache Spark or Dask"),
    ],
)
def test_needs_beyond_a_service_name_the_figure_and_what_to_use(needs: Needs, service: str, said: str) -> None:
    found = verdict(advise(needs), service)
    assert found.answer == "use something else"
    assert any(said in line for line in found.limits)


def test_consistency_across_regions_is_paid_in_round_trips() -> None:
    near = advise(Needs(uses=["locks"], regions=["a", "b", "c"], survive="node", latency_ms=500))
    far = advise(Needs(uses=["locks"], regions=["a", "b", "c"], survive="region", latency_ms=500))
    assert far.layouts[0].write_home_ms >= near.layouts[0].write_home_ms + 40
    assert any("PACELC" in line for line in verdict(far, "coordination").give_up)
    assert any("80 ms was assumed, 40 to 120 ms is usual" in line for line in verdict(far, "coordination").measure)


def test_what_cannot_be_survived_is_said() -> None:
    advice = advise(Needs(uses=["locks"], regions=["a", "b"], survive="region"))
    assert not advice.meets and "No layout of voters" in advice.summary


def test_eventual_consistency_is_told_of_the_cheaper_way() -> None:
    advice = advise(Needs(uses=["configuration"], consistency="eventual"))
    assert any("answers from either side" in line for line in verdict(advice, "coordination").give_up)


def test_every_service_and_use_is_covered_by_rules() -> None:
    names = [service.name for service in SERVICES]
    assert sorted(WANTED_BY) == sorted(names)
    assert sorted({use for uses in WANTED_BY.values() for use in uses}) == sorted(USES)
    assert all(rule.service in names for rule in RULES)
    for name in names:
        assert any(rule.service == name and rule.kind == "why" for rule in RULES)


@given(
    st.builds(
        Needs,
        uses=st.lists(st.sampled_from(list(USES)), min_size=1, unique=True),
        consistency=st.sampled_from(["linearizable", "sequential", "eventual"]),
        writes_per_s=st.floats(0, 1e6),
        data_gb=st.floats(0.001, 1e6),
        survive=st.sampled_from(["nothing", "node"]),
        zones=st.integers(1, 4),
        regions=st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True),
    )
)
def test_any_needs_get_advice_with_reasons(needs: Needs) -> None:
    advice = advise(needs)
    assert advice.verdicts and all(verdict.why for verdict in advice.verdicts)
    for found in advice.verdicts:
        assert (found.answer == "use something else") == bool(found.limits)
        assert found.service.state != "planned" or found.answer != "use it"
        assert bool(found.instead) == (found.answer != "use it")
    assert advice == advise(needs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("use = ['locks']", r"needs.toml:1: there is no key use: did you mean uses\?"),
        ("uses = ['lock']", r"needs.toml:1: uses.0: Invalid enum value 'lock'"),
        ("uses = ['locks']\nregions = ['a', 'a']", r"needs.toml:2: regions names 'a' twice"),
        ("uses = ['locks']\nregions = ['a']\nhome = 'b'", r"needs.toml:3: home is 'b', which is none of the regions"),
        ("uses = ['locks']\nregions = ['a', 'b']\n[rtt_ms]\na-c = 40", r"needs.toml:3: rtt_ms has 'a-c', which is no pair"),
        ("uses = ['locks']\nsurvive = 'region'", r"needs.toml:2: survive is region, and there is one region"),
        ("uses = ['locks']\nsurvive = 'zone'", r"needs.toml:2: survive is zone, and there is one zone"),
        ("writes_per_s = -1", r"needs.toml:1: writes_per_s: Expected `float` >= 0"),
    ],
)
def test_bad_needs_are_named_by_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text, "needs.toml")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "zones = 3\n"])
def test_needs_that_do_not_say_what_is_shared_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "needs.toml")
    said = str(caught.value)
    assert said.startswith('needs.toml does not say what the application shares: write for example uses = ["locks", "events"]')
    assert all(use in said for use in USES) and "\n" not in said
    example = said.split("for example ")[1].split(";")[0]
    assert parse(f"{text}{example}\n").uses == ["locks", "events"]


def test_answers_make_the_same_needs_as_a_file() -> None:
    needs = parse(SAMPLE_NEEDS)
    data = msgspec.to_builtins(needs)
    said = {q.key: ", ".join(data[q.key]) if isinstance(data[q.key], list) else str(data[q.key]) for q in QUESTIONS}
    assert needs_of(said) == msgspec.structs.replace(needs, rtt_ms={})
    assert needs_of({}) == Needs(uses=["locks"])


@pytest.mark.parametrize(
    ("key", "said", "message"),
    [
        ("uses", "locks, sheep", "'sheep' is none of"),
        ("uses", " ", "name at least one"),
        ("writes_per_s", "many", "is no number: write for example 100"),
        ("clients", "3.5", "is no whole number"),
        ("survive", "everything", "is none of nothing, node, zone, region"),
    ],
)
def test_answers_that_make_no_sense(key: str, said: str, message: str) -> None:
    question = next(question for question in QUESTIONS if question.key == key)
    with pytest.raises(InputError, match=message):
        value(question, said)
