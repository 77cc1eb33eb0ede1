"""What is wrong with an intent is said with its file, its line, its key and what to write instead."""

from __future__ import annotations

import pytest

from loggos.base.errors import InputError
from loggos.planner.plan.intent import Interval, estimate, parse
from loggos.planner.plan.make import plan_text
from loggos.planner.plan.reading import line_of
from tests.planner.plan.samples import SMALL

BAD = [
    ("not TOML", SMALL.replace("[load]", "[load"), r"shop.toml is not TOML: .*line 11"),
    ("unknown key", SMALL.replace("per_s = 1000", "per_sec = 1000"), r"shop.toml:12: there is no key load.per_sec: did you mean"),
    ("unknown table", SMALL + "[lod]\nx = 1\n", r"there is no key lod: did you mean load\?"),
    ("unknown key of a node", SMALL + "cpus = 3\n", r"shop.toml:22: there is no key node.0.cpus: it can be name,"),
    ("not a number", SMALL.replace("per_s = 1000", 'per_s = "many"'), r"shop.toml:12: load.per_s: Expected"),
    ("a negative rate", SMALL.replace("per_s = 1000", "per_s = -5"), r"shop.toml:12: load.per_s is -5: it must .* above 0"),
    ("no number", SMALL.replace("per_s = 1000", "per_s = nan"), r"shop.toml:12: load.per_s is not a finite number"),
    ("without end", SMALL.replace("cores = 4", "cores = 4\ndisk_gb = inf"), r"shop.toml:21: node.0.disk_gb is not a finite"),
    ("no cores", SMALL.replace("cores = 4", "cores = 0"), r"shop.toml:20: node.0.cores: Expected `int` >= 1"),
    ("impossible memory", SMALL.replace("memory_gb = 16", "memory_gb = 1"), r"shop.toml:21: small has 1 GB of memory"),
    ("no node type", SMALL[: SMALL.index("[[node]]")], r"shop.toml: the file: Object missing required field `node`"),
    ("a quantile of 99", SMALL.replace("0.99\n", "99\n"), r"shop.toml:8: objective.quantile: Expected `float` < 1"),
    ("always up", SMALL.replace("availability = 0.999", "availability = 1.0"), r"shop.toml:9: objective.availability: Expected"),
    ("no demand", SMALL.replace("[demand.service]\nmean_ms = 5", "[demand]\nfloor_ms = 1"), r"shop.toml:14: demand needs one of"),
    ("two demands", SMALL + "[demand.scaling]\ngamma=1\nalpha=0\nbeta=0\n", r"demand needs one of .* service and scaling"),
    (
        "an interval beside its value",
        SMALL.replace("per_s = 1000", "per_s = { value = 5, low = 6, high = 7 }"),
        r"shop.toml:12: load.per_s: its interval \[6, 7\] does not hold its value 5",
    ),
    (
        "too few points",
        SMALL.replace("[demand.service]\nmean_ms = 5", "[demand.points]\nn = [1, 2, 4]\nper_s = [10, 18, 30]"),
        r"shop.toml:15: demand.points has 3 different n: .* 6 or more",
    ),
    (
        "uneven points",
        SMALL.replace("[demand.service]\nmean_ms = 5", "[demand.points]\nn = [1, 2]\nper_s = [10]"),
        r"shop.toml:14: demand.points has 2 n and 1 per_s",
    ),
    ("more zones lost than there are", SMALL + "[survive]\nzones = 1\n", r"shop.toml:23: survive.zones is 1, and the site has 1"),
    ("more regions lost than there are", SMALL + "[survive]\nregions = 1\n", r"survive.regions is 1, and site.regions is 1"),
    ("shrinking to nothing", SMALL.replace("per_s = 1000", "per_s = 1\ngrowth_per_year = -1.0"), r"shop.toml:13: .*above -1"),
    ("nothing can be written", SMALL + "[data]\nsize_gb = 5\nreplication = 1\n", r"data.in_sync_min is 2 of 1 replicas"),
    ("the same name twice", SMALL + SMALL[SMALL.index("[[node]]") :], r"shop.toml:23: two node types are called 'small'"),
]


@pytest.mark.parametrize(("what", "text", "message"), BAD, ids=[case[0] for case in BAD])
def test_bad_input_is_named_by_line(what: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text, "shop.toml")


def test_an_objective_below_the_zero_load_latency_is_refused_with_the_figure() -> None:
    """5 ms of exponential service: the 99th percentile is 5 ln 100 = 23.03 ms with no load at all."""
    with pytest.raises(InputError, match=r"shop.toml:7: the objective of 20 ms cannot be met: the p99 .* is 23.03 ms already"):
        plan_text(SMALL.replace("latency_ms = 50", "latency_ms = 20"), "shop.toml")


def test_without_a_load_or_data_there_is_no_plan() -> None:
    with pytest.raises(InputError, match="--data"):
        plan_text(SMALL.replace("per_s = 1000", "growth_per_year = 0"), "shop.toml")


def test_a_number_is_exact_and_a_table_has_an_interval() -> None:
    assert estimate(3.0)[:3] == (3, 3, 3)
    assert estimate(Interval(3, 2, 5))[:3] == (3, 2, 5)


def test_lines_of_dotted_keys_inline_tables_and_arrays() -> None:
    text = "a.b = 1\n[c]\nd = { e = 1 }\n[[f]]\ng = 1\n[[f]]\ng = 2 # [f]\n"
    assert line_of(text, ("a", "b")) == 1
    assert line_of(text, ("c", "d", "e")) == 3
    assert line_of(text, ("f", 1, "g")) == 7
    assert line_of(text, ("f", 1, "missing")) == 6
    assert line_of(text, ("nowhere",)) == 0
