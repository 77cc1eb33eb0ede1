"""`loggos plan`: what it prints, its exit codes, its files. In this process; bad input is an InputError, which main() prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loggos.base.errors import ConfigError, InputError
from loggos.cli.plan import asked, need_extra, plan_app
from loggos.planner.advise.sample import SAMPLE_INTENT, SAMPLE_NEEDS
from tests.planner.observe.test_prometheus import prometheus, server
from tests.planner.plan.samples import SMALL


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(plan_app, list(arguments), input=stdin)


def bad(*arguments: str, stdin: str = "") -> str:
    result = run(*arguments, stdin=stdin)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_make_prints_the_answer_and_the_reasons(shop: Path) -> None:
    result = run("make", "--intent", str(shop))
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("How many machines") and lines[1] == "3 × small, 120 EUR a month."
    assert "Load binds" in result.output and "Measure next:" in result.output


def test_make_for_programs(shop: Path) -> None:
    answer = json.loads(run("make", "--intent", str(shop), "--json").output)
    assert (answer["plan"]["type"], answer["plan"]["nodes"], answer["plan"]["cost_per_month"]) == ("small", 3, 120)


def test_make_reads_standard_input_and_its_own_sample() -> None:
    sample = run("make", "--sample").output
    assert sample == SAMPLE_INTENT
    assert "8 × large" in run("make", "--intent", "-", stdin=sample).output


def test_reports_by_the_ending_of_their_name(shop: Path, tmp_path: Path) -> None:
    for name, begins in (("plan.html", "<!DOCTYPE html>"), ("plan.md", "# A plan for shop")):
        assert run("make", "--intent", str(shop), "--report", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    assert "is .html or .md, not plan.pdf" in bad("make", "--intent", str(shop), "--report", "plan.pdf")


def test_a_report_that_cannot_be_written_is_told_before_the_work(shop: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.toml")  # what is not there is not even looked for
    for words in (["make", "--intent", absent], ["advise", "--needs", absent]):
        result = run(*words, "--report", str(tmp_path / "none" / "plan.md"))
        assert isinstance(result.exception, ConfigError) and "there is no directory" in str(result.exception)
        assert "is .html or .md, not plan.pdf" in bad(*words, "--report", "plan.pdf")
    result = run("make", "--intent", str(shop), "--report", str(tmp_path))
    assert isinstance(result.exception, InputError | ConfigError) and not result.output


def test_no_plan_is_exit_code_1_with_what_nearly_does(shop: Path) -> None:
    shop.write_text(SMALL + "[voters]\n[site]\nzones = 2\n[survive]\nzones = 1\n", encoding="utf-8")
    result = run("make", "--intent", str(shop))
    assert result.exit_code == 1
    assert "No plan satisfies this:" in result.output and "site.zones = 3 would give" in result.output
    assert json.loads(run("make", "--intent", str(shop), "--json").output)["plan"] is None


def test_bad_intents(shop: Path, tmp_path: Path) -> None:
    shop.write_text(SMALL.replace("cores", "coers"), encoding="utf-8")
    assert f"{shop}:20: there is no key node.0.coers: did you mean cores?" in bad("make", "--intent", str(shop))
    shop.write_text(SMALL.replace("= 50", "= 20"), encoding="utf-8")
    assert f"{shop}:7: the objective of 20 ms cannot be met" in bad("make", "--intent", str(shop))
    assert "cannot read" in bad("make", "--intent", str(tmp_path / "none.toml"))
    assert "--sample" in bad("make")
    shop.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in bad("make", "--intent", str(shop))


def hours(path: Path, days: int = 14) -> Path:
    rows = [f"{1_700_006_400 + 3600 * hour},{800 + 300 * (hour % 24 in range(8, 20)) + hour % 7}" for hour in range(24 * days)]
    path.write_text("time,requests\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_measured_load_is_forecast_and_planned_for(shop: Path, tmp_path: Path) -> None:
    shop.write_text(SMALL.replace("horizon_months = 12", "horizon_months = 0.5"), encoding="utf-8")
    report = tmp_path / "plan.html"
    found = run("make", "--intent", str(shop), "--data", str(hours(tmp_path / "load.csv")), "--report", str(report), "--json")
    assert found.exit_code == 0
    load = json.loads(found.stdout)["load"]
    assert load["low"] <= load["value"] <= load["high"] and 900 < load["value"] < 1400
    assert load["source"].startswith("forecast of requests from 336 points")
    assert "forecast at 2023-12" in report.read_text(encoding="utf-8")


def test_data_with_several_series_ask_which(tmp_path: Path, shop: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("time,a,b\n1700000000,1,2\n1700003600,2,3\n", encoding="utf-8")
    assert "hold 2 series: a, b; name one with --series" in bad("make", "--intent", str(shop), "--data", str(path))


def test_advise_from_a_file_from_standard_input_and_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "needs.toml"
    path.write_text(SAMPLE_NEEDS, encoding="utf-8")
    result = run("advise", "--needs", str(path), "--report", str(tmp_path / "advice.html"))
    assert result.exit_code == 0
    assert "streams (planned): use it when it is built; today: Apache Kafka or Redpanda" in result.output
    assert run("advise", stdin=run("advise", "--sample").output).stdout == result.stdout
    answer = json.loads(run("advise", "--needs", str(path), "--json").output)
    assert answer["layouts"][0]["regions"] == {"frankfurt": 1, "dublin": 1, "virginia": 1}


def test_advice_that_cannot_be_met_is_exit_code_1() -> None:
    assert run("advise", stdin='uses = ["locks"]\nregions = ["a", "b"]\nsurvive = "region"\n').exit_code == 1


def test_bad_needs() -> None:
    assert "standard input:1: there is no key region: did you mean regions?" in bad("advise", stdin="region = ['a']\n")
    assert 'standard input does not say what the application shares: write for example uses = ["locks"' in bad("advise")


def test_questions_are_asked_again_until_they_make_sense(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"uses": ["sheep", "locks, events"], "regions": ["a, b, c"], "home": ["b"], "survive": ["region"]}
    texts: list[str] = []

    def prompt(text: str, default: str) -> str:
        texts.append(text)
        for key, answers in said.items():
            starts = {"uses": "What does it share", "regions": "Regions", "home": "Region where", "survive": "The largest loss"}
            if text.startswith(starts[key]) and answers:
                return answers.pop(0)
        return default

    needs = asked(prompt)
    assert (needs.uses, needs.regions, needs.home, needs.survive) == (["locks", "events"], ["a", "b", "c"], "b", "region")
    assert "'sheep' is none of" in capsys.readouterr().err
    assert sum(text.startswith("What does it share") for text in texts) == 2
    asked(lambda text, default: default)


def test_observe_and_forecast(tmp_path: Path) -> None:
    load = hours(tmp_path / "load.csv")
    assert "336" in run("observe", str(load)).stdout
    assert json.loads(run("observe", str(load), "--json").stdout)["series"][0]["series"] == "requests"
    found = json.loads(run("forecast", str(load), "--months", "0.2", "--json").stdout)
    assert found["peak"]["range"]["low"] <= found["peak"]["range"]["value"]


def test_a_server_is_asked_for_a_query() -> None:
    assert "say what to ask it for" in bad("observe", "http://127.0.0.1:1")
    assert "both must be above 0" in bad("observe", "http://127.0.0.1:1", "--query", "up", "--step-s", "0")
    assert "127.0.0.1:1" in bad("observe", "http://127.0.0.1:1", "--query", "up")


def test_a_server_is_asked_for_a_year_of_hours_and_with_a_token_unless_told() -> None:
    with server(prometheus) as (address, asked):
        words = ["observe", address, "--query", "load"]
        for more in ([], ["--token", "said", "--days", "2", "--step-s", "60"]):
            result = CliRunner().invoke(plan_app, [*words, *more], env={"LOGGOS_PROMETHEUS_TOKEN": "held"})
            assert result.exit_code == 0, result.output
    spans = [(float(one.form["end"]) - float(one.form["start"]), float(one.form["step"]), one.authorization) for one in asked]
    assert spans == [(365 * 86_400, 3_600, "Bearer held"), (2 * 86_400, 60, "Bearer said")]


def test_what_only_a_server_heeds_is_refused_for_a_file(tmp_path: Path, shop: Path) -> None:
    load = str(hours(tmp_path / "load.csv"))
    for words in (["observe", load], ["forecast", load], ["make", "--intent", str(shop), "--data", load]):
        for option in ("--days", "--step-s", "--token", "--query"):
            said = bad(*words, option, "30")
            assert said.startswith(f"{option}: only for a Prometheus server (http://HOST:PORT), and {load} is a file")
            assert "\n" not in said and ("--months" in said) == (option == "--days")
    assert bad("observe", load, "--days", "365", "--query", "up").startswith("--query, --days: only for")
    assert "name it, --data http://HOST:PORT" in bad("make", "--intent", str(shop), "--query", "up")
    for words in (["--series", "load"], ["--force"]):
        assert bad("make", "--intent", str(shop), *words).startswith(f"{words[0]}: only for the forecast of measured data")


def test_a_token_in_the_environment_leaves_files_alone(tmp_path: Path) -> None:
    load = hours(tmp_path / "load.csv")
    assert CliRunner().invoke(plan_app, ["observe", str(load)], env={"LOGGOS_PROMETHEUS_TOKEN": "secret"}).exit_code == 0


def test_observe_tells_the_resets_of_a_counter_as_forecast_does(tmp_path: Path) -> None:
    path = tmp_path / "counter.csv"
    rows = [f"{1_700_006_400 + 3600 * hour},{1000 * (hour % 100) + hour % 24 * 7}" for hour in range(24 * 14)]
    path.write_text("time,requests_total\n" + "\n".join(rows) + "\n", encoding="utf-8")
    seen = [line for line in run("observe", str(path)).stderr.splitlines() if "it was reset, and counted on from 0" in line]
    assert len(seen) == 3 and seen[0].startswith("loggos: note: 2023-11-19T04:00:00Z: requests_total fell from")
    assert all(line in run("forecast", str(path), "--months", "0.2").stderr.splitlines() for line in seen)
    findings = json.loads(run("observe", str(path), "--json").stdout)["findings"]
    assert sum(finding["kind"] == "counter reset" for finding in findings) == 3


def test_the_manual_shows_what_is_printed() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "PLANNING.md").read_text(encoding="utf-8")
    intent = manual.split("```toml\n")[1].split("```")[0]
    shown = manual.split("gives\n\n```\n")[1].split("…")[0].splitlines()
    assert run("make", "--intent", "-", stdin=intent).stdout.splitlines()[: len(shown)] == shown
    advice = run("advise", stdin=SAMPLE_NEEDS).stdout
    layouts = [line for line in manual.splitlines() if "the leader in" in line]
    assert len(layouts) == 2 and all(line in advice.splitlines() for line in layouts)


def test_fit_predicts_with_intervals_and_refuses_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("threads,per_s\n1,20\n4,78\n8,130\n12,170\n16,190\n20,200\n", encoding="utf-8")
    answer = json.loads(run("fit", str(path), "--at", "30", "--json").output)
    assert round(answer["parameters"]["alpha"]["value"], 5) == 0.02444
    assert answer["predictions"]["30"]["low"] < answer["predictions"]["30"]["high"]
    assert "load 64 is out of range" in bad("fit", str(path), "--at", "64")
    assert run("fit", str(path), "--at", "64", "--force").exit_code == 0
    path.write_text("threads,per_s\n1,20\n4,many\n", encoding="utf-8")
    assert f"{path}:3: '4,many' is not two numbers" in bad("fit", str(path))


def test_without_numpy_one_line_says_what_to_install() -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    with pytest.raises(ConfigError, match=r"pip install loggos\[plan\]") as caught:
        need_extra(missing)
    assert "\n" not in str(caught.value)
