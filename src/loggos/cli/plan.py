"""`loggos plan`: make, advise, observe, fit, forecast. Files and prompts here; what they mean is decided in planner/.

Exit codes: 0 there is a plan, 1 no plan satisfies the intent (said why, and what nearly does), 2 bad input. Output is tables for
people and plain text otherwise; `--json` is for programs. Must not hold logic.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from loggos.app.reports import check_report_path, write_report
from loggos.base.errors import ConfigError, InputError

if TYPE_CHECKING:
    from loggos.planner.advise.advice import Advice
    from loggos.planner.advise.needs import Needs
    from loggos.planner.forecast.forecast import Forecast
    from loggos.planner.observe.findings import Finding, Observation
    from loggos.planner.plan.make import Plan, Refusal
    from loggos.planner.report.blocks import Report
    from loggos.planner.report.figures import Outlook
    from loggos.planner.types import Estimate, Series

plan_app = typer.Typer(help="How many machines, of what size, and why; which services fit an application.", no_args_is_help=True)

MONTH_S = 365.25 * 86_400 / 12
DAY_S = 86_400.0
DAYS, STEP_S = 365.0, 3_600.0  # how far back, and on which steps, a server is asked unless told
TOKEN_VARIABLE = "LOGGOS_PROMETHEUS_TOKEN"
SEED = 1  # of the simulated futures: the same data give the same plan
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs")]
SeriesOption = Annotated[str | None, typer.Option("--series", help="Which series of the data; not needed if there is one")]
DataArgument = Annotated[str, typer.Argument(help="CSV, Prometheus text, a saved answer of its API, or a server's address")]
QueryOption = Annotated[str | None, typer.Option("--query", help="What to ask a Prometheus server for")]
DaysOption = Annotated[float | None, typer.Option("--days", help=f"How far back to ask a server: {DAYS:g} unless told")]
StepOption = Annotated[float | None, typer.Option("--step-s", help=f"Seconds between a server's points: {STEP_S:g} unless told")]
TokenOption = Annotated[str | None, typer.Option("--token", help=f"Bearer token for a server: {TOKEN_VARIABLE} unless told")]
ReportOption = Annotated[Path | None, typer.Option("--report", help="Write a report here: .html or .md")]
SampleOption = Annotated[bool, typer.Option("--sample", help="Print a sample input and stop")]


def need_extra(load: Callable[[str], object] = importlib.import_module) -> None:
    """ConfigError in one line if the planner's libraries are not installed."""
    for name in ("numpy", "scipy"):
        try:
            load(name)
        except ImportError:
            raise ConfigError(f"planning needs {name}, which is not installed: pip install loggos[plan]") from None


def note(line: str) -> None:
    print(f"loggos: {line}", file=sys.stderr, flush=True)


def read_text(path: Path) -> str:
    """InputError says why a file cannot be read. "-" is standard input."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}: check the path and its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8") from None


def renderer(path: Path) -> Callable[[Report], str]:
    """For HTML or Markdown, by the name's end."""
    from loggos.planner.report import html, markdown

    kinds = {".html": html.render, ".htm": html.render, ".md": markdown.render}
    render = kinds.get(path.suffix.lower())
    if render is None:
        raise InputError(f"a report is .html or .md, not {path.name}: name it so")
    return render


def check_report(path: Path | None) -> None:
    """Before the work begins: InputError or ConfigError if a report, where one is wanted, cannot be."""
    if path is not None:
        renderer(path)
        check_report_path(path)


def save(report: Report, path: Path) -> None:
    write_report(path, renderer(path)(report))
    note(f"the report is in {path}")


@plan_app.command()
def make(
    intent: Annotated[Path | None, typer.Option(help="The intent, a TOML file; - is standard input")] = None,
    data: Annotated[str | None, typer.Option(help="Measured requests per second: its forecast replaces load.per_s")] = None,
    series: SeriesOption = None,
    query: QueryOption = None,
    days: DaysOption = None,
    step_s: StepOption = None,
    token: TokenOption = None,
    report: ReportOption = None,
    force: Annotated[bool, typer.Option(help="Forecast beyond twice the history")] = False,
    as_json: JsonOption = False,
    sample: SampleOption = False,
) -> None:
    """How many nodes of which type, voters, partitions and replicas satisfy an intent, and what they cost."""
    need_extra()
    from loggos.planner.advise.sample import SAMPLE_INTENT

    if sample:
        print(SAMPLE_INTENT, end="")
        return
    if intent is None:
        raise InputError("name the intent with --intent FILE; --sample prints one to begin with")
    check_report(report)
    measured = Wanted(data or "", query, days, step_s, token)
    if data is None and measured.given:
        raise InputError(f"{measured.given}: only for a Prometheus server: name it, --data http://HOST:PORT, or leave that out")
    if data is None and (series is not None or force):
        option = "--series" if series is not None else "--force"
        raise InputError(f"{option}: only for the forecast of measured data: name them with --data, or leave that out")
    from loggos.planner.plan.intent import parse
    from loggos.planner.plan.make import Refusal, plan_text
    from loggos.planner.report import data as plain
    from loggos.planner.report import of_plan

    text = read_text(intent)
    peak, source, outlook = None, "", None
    if data is not None:
        wanted = parse(text, str(intent))
        found = observed(measured, as_json)
        ahead_s = (max(wanted.horizon_months * MONTH_S, DAY_S), wanted.lead_time_days * DAY_S)
        peak, source, outlook = foreseen(request_rate(found, series), *ahead_s, force, as_json)
    answer = plan_text(text, str(intent), peak, source)
    if report is not None:
        save(of_plan.report(answer, outlook), report)
    if as_json:
        print(json.dumps(plain.of_plan(answer)))
    else:
        show_plan(answer)
    raise typer.Exit(1 if isinstance(answer, Refusal) else 0)


def show_plan(answer: Plan | Refusal) -> None:
    from loggos.cli.tables import show
    from loggos.planner.plan.make import Refusal
    from loggos.planner.report import of_plan
    from loggos.planner.report.blocks import Items, Table, Words

    print(of_plan.question(answer.intent))
    if isinstance(answer, Refusal):
        print("No plan satisfies this:")
        print("\n".join(f"  {line}" for line in answer.why))
        print("What nearly does:" if answer.nearly else "Nothing that was tried does; the cause above must go first.")
        print("\n".join(f"  {line}" for line in answer.nearly))
        return
    print(of_plan.sentence(answer))
    for block in of_plan.why(answer):
        match block:
            case Words(text):
                print(text)
            case Items(lines):
                print("\n".join(f"- {line}" for line in lines))
            case Table(columns, rows):
                show("", columns, rows)
    options = of_plan.alternatives(answer)
    show("Alternatives, least regret first", options.columns, options.rows)
    for claim, evidence, agrees in of_plan.checks(answer).shown:
        if agrees is False:
            print(f"A rule disagrees: {claim}: {evidence}")
    print("Measure next:")
    print("\n".join(f"- {line}" for line in of_plan.measure_next(answer)))


@plan_app.command()
def advise(
    needs: Annotated[Path | None, typer.Option(help="The needs, a TOML file; - is standard input")] = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
    sample: SampleOption = False,
) -> None:
    """Which services and configuration fit an application, why, and what is given up. Asks, if no file is named on a terminal."""
    need_extra()
    from loggos.planner.advise.advice import advise as give_advice
    from loggos.planner.advise.needs import parse
    from loggos.planner.advise.sample import SAMPLE_NEEDS
    from loggos.planner.report import data as plain
    from loggos.planner.report import of_advice

    if sample:
        print(SAMPLE_NEEDS, end="")
        return
    check_report(report)
    if needs is None and sys.stdin.isatty():
        wanted = asked()
    else:
        path = needs or Path("-")
        wanted = parse(read_text(path), str(path) if str(path) != "-" else "standard input")
    advice = give_advice(wanted)
    if report is not None:
        save(of_advice.report(advice), report)
    if as_json:
        print(json.dumps(plain.of_advice(advice)))
    else:
        show_advice(advice)
    raise typer.Exit(0 if advice.meets else 1)


def asked(prompt: Callable[..., str] = typer.prompt) -> Needs:
    """Every question that matters, again until its answer makes sense."""
    from loggos.planner.advise.questions import QUESTIONS, needs_of, value

    answers: dict[str, str] = {}
    for question in QUESTIONS:
        while question.when(answers):
            answers[question.key] = prompt(f"{question.text}{choices(question.choices)}", default=question.default)
            try:
                value(question, answers[question.key])
                break
            except InputError as error:
                note(str(error))
    return needs_of(answers)


def choices(named: Sequence[str]) -> str:
    return f" ({', '.join(named)})" if named and len(named) < 6 else ""


def show_advice(advice: Advice) -> None:
    from loggos.cli.tables import show
    from loggos.planner.plan.words import figure

    print(advice.summary)
    if advice.layouts:
        rows = [
            (
                layout.words(advice.needs.regions),
                figure(layout.write_home_ms, "ms"),
                figure(layout.write_far_ms, "ms"),
                layout.survives,
                f"{layout.availability:.7g}",
            )
            for layout in advice.layouts
        ]
        show("Voters, the recommended layout first", ("layout", "write, home", "write, far", "survives", "available"), rows)
    for verdict in advice.verdicts:
        instead = f"; today: {verdict.instead}" if verdict.instead else ""
        print(f"\n{verdict.service.name} ({verdict.service.state}): {verdict.answer}{instead}")
        named = (("why", verdict.why), ("configure", verdict.configure), ("given up", verdict.give_up))
        for name, lines in (*named, ("beyond it", verdict.limits), ("measure", verdict.measure)):
            print("\n".join(f"  {name}: {line}" for line in lines), end="\n" if lines else "")


class Wanted(NamedTuple):
    """A file, or the address of a Prometheus server and what to ask it for. None: not said on the command line."""

    data: str
    query: str | None = None
    days: float | None = None
    step_s: float | None = None
    token: str | None = None

    @property
    def given(self) -> str:
        """The options that were said, which only a server heeds."""
        options = (("--query", self.query), ("--days", self.days), ("--step-s", self.step_s), ("--token", self.token))
        return ", ".join(name for name, value in options if value is not None)


def observed(wanted: Wanted, quiet: bool = False) -> Observation:
    """The series of a file or a server; what was odd about it goes to standard error."""
    from loggos.planner.observe.api import read_dump
    from loggos.planner.observe.csvfile import read_csv
    from loggos.planner.observe.exposition import read_exposition

    if wanted.data.lower().startswith(("http://", "https://")):
        found = asked_server(wanted)
    else:
        refuse_given(wanted)
        path = Path(wanted.data)
        kind = Path(path.name.lower().removesuffix(".gz")).suffix
        found = read_dump(path) if kind == ".json" else read_exposition(path) if kind in (".prom", ".txt") else read_csv(path)
    tell(found.findings, quiet)
    return found


def refuse_given(wanted: Wanted) -> None:
    """InputError if a file comes with options that only a server heeds: what they ask for would not happen."""
    if wanted.given:
        ahead = "" if wanted.days is None else "; how far ahead a forecast looks is --months, in an intent horizon_months"
        raise InputError(
            f"{wanted.given}: only for a Prometheus server (http://HOST:PORT), and {wanted.data} is a file, which is read whole:"
            f" leave that out{ahead}"
        )


def asked_server(wanted: Wanted) -> Observation:
    """The answer of a Prometheus server up to now, on whole steps."""
    from loggos.planner.observe.prometheus import Prometheus

    if not wanted.query:
        raise InputError(f"{wanted.data} is a server: say what to ask it for, --query 'sum(rate(http_requests_total[5m]))'")
    days, step_s = DAYS if wanted.days is None else wanted.days, STEP_S if wanted.step_s is None else wanted.step_s
    if not (step_s > 0 and days > 0):
        raise InputError(f"--days {days:g} and --step-s {step_s:g}: both must be above 0")
    token = os.environ.get(TOKEN_VARIABLE, "") if wanted.token is None else wanted.token
    end_s = time.time() // step_s * step_s
    server = Prometheus(wanted.data, token=token)
    return server.query_range(wanted.query, end_s - days * DAY_S, end_s, step_s)


def tell(findings: Sequence[Finding], quiet: bool) -> None:
    from loggos.planner.observe.findings import Severity

    for finding in findings:
        if not quiet or finding.severity is Severity.SERIOUS:
            note(str(finding))


def chosen(found: Observation, name: str | None) -> Series:
    """The named series, or the only one."""
    if name is not None:
        return found.one(name)
    if len(found.series) == 1:
        return found.series[0]
    names = ", ".join(dict.fromkeys(series.name for series in found.series)) or "none"
    raise InputError(f"the data hold {len(found.series)} series: {names[:400]}; name one with --series")


def request_rate(found: Observation, name: str | None) -> Series:
    """A rate per second: counters become rates."""
    from loggos.planner.observe.clean import present
    from loggos.planner.observe.derive import arrival_rate

    series = chosen(found, name)
    if found.is_counter(series):
        rate, findings = arrival_rate(series)
        tell(findings, quiet=False)
        return present(rate)
    return series


def foreseen(series: Series, horizon_s: float, lead_s: float, force: bool, quiet: bool) -> tuple[Estimate, str, Outlook]:
    """The peak until the horizon with its interval, where it is from in words, and both series for the report."""
    from loggos.planner.forecast.forecast import forecast as foresee
    from loggos.planner.forecast.forecast import peak_of
    from loggos.planner.observe.findings import time_text
    from loggos.planner.report.figures import Outlook

    found = foresee(series, horizon_s, seed=SEED, lead_s=lead_s, force=force)
    tell(found.findings, quiet)
    peak = peak_of(found.paths, found.median.times_s, 0.95).range
    low, high = found.intervals[max(found.intervals)]
    times = found.median.times_s.tolist()
    ahead = zip(times, found.median.values.tolist(), low.values.tolist(), high.values.tolist(), strict=True)
    history = [(at, value) for at, value in zip(series.times_s.tolist(), series.values.tolist(), strict=True) if value == value]
    source = f"forecast of {series.name} from {len(series.values):,} points of {series.source or 'the data'} by {found.model}"
    tested = next((score for score in found.scores if score.model == found.model), None)
    if tested is not None:
        source += f", whose error was {tested.mase:.2f} of the seasonal naive one's in training, over {tested.origins} origins"
    said = [str(finding) for finding in found.findings]
    return peak, source, Outlook(history, list(ahead), lambda at: time_text(at)[:10], said)


@plan_app.command()
def observe(
    data: DataArgument,
    query: QueryOption = None,
    days: DaysOption = None,
    step_s: StepOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """What measurements hold, and what is odd about them."""
    need_extra()
    from loggos.cli.tables import show
    from loggos.planner.observe.clean import counter_resets
    from loggos.planner.observe.findings import described, time_text

    found = observed(Wanted(data, query, days, step_s, token))
    resets = counter_resets(found)
    tell(resets, quiet=False)
    rows = []
    for series in found.series:
        first, last = time_text(float(series.times_s[0])), time_text(float(series.times_s[-1]))
        spread = (f"{series.values.min():,.4g}", f"{series.values.mean():,.4g}", f"{series.values.max():,.4g}")
        rows.append((described(series.name, series.labels), series.unit, f"{len(series.values):,}", first, last, *spread))
    columns = ("series", "unit", "points", "first", "last", "lowest", "mean", "highest")
    if as_json:
        said = (*found.findings, *resets)
        findings = [{"kind": f.kind, "severity": f.severity, "what": f.what, "where": f.where} for f in said]
        print(json.dumps({"series": [dict(zip(columns, row, strict=True)) for row in rows], "findings": findings}))
    else:
        show(data, columns, rows)


@plan_app.command()
def fit(
    data: Annotated[Path, typer.Argument(help="Two columns: load (users, threads, nodes) and throughput per second")],
    at: Annotated[list[float] | None, typer.Option(help="Predict at this load; may be repeated")] = None,
    force: Annotated[bool, typer.Option(help="Predict beyond twice the largest measured load")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the scalability law to a load test: parameters with their intervals, and predictions."""
    need_extra()
    from loggos.planner.fit.fit import fit as fit_models
    from loggos.planner.fit.models import AMDAHL, USL
    from loggos.planner.fit.points import points

    law = fit_models([USL, AMDAHL], points(*pairs(data)))
    predicted = {f"{load:g}": law.predict(load, force) for load in at or []}
    if as_json:
        answer: dict[str, Any] = {"model": law.model.name, "words": law.words, "r_squared": law.r_squared}
        answer["parameters"] = {name: value._asdict() for name, value in law.parameters.items()}
        answer["predictions"] = {load: value._asdict() for load, value in predicted.items()}
        print(json.dumps(answer))
        return
    print(law.words)
    print("\n".join(f"{name} {value}" for name, value in law.parameters.items()))
    print("\n".join(f"at {load}: {value}" for load, value in predicted.items()), end="\n" if predicted else "")


def pairs(path: Path) -> tuple[list[float], list[float]]:
    """Two columns of numbers after a heading; InputError names the line."""
    loads: list[float] = []
    values: list[float] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        cells = [cell for cell in line.replace(";", ",").replace("\t", ",").split(",") if cell.strip()]
        if not cells or line.startswith("#"):
            continue
        try:
            load, value = (float(cell) for cell in cells)
        except ValueError:
            if not loads and number <= 2:
                continue  # the heading
            raise InputError(f"{path}:{number}: {line.strip()!r} is not two numbers: write load and throughput") from None
        loads.append(load)
        values.append(value)
    return loads, values


@plan_app.command("forecast")
def forecast_command(
    data: DataArgument,
    series: SeriesOption = None,
    query: QueryOption = None,
    days: DaysOption = None,
    step_s: StepOption = None,
    token: TokenOption = None,
    months: Annotated[float, typer.Option(help="How far ahead, after the lead time")] = 3.0,
    lead_days: Annotated[float, typer.Option(help="From an order to a node that serves")] = 14.0,
    force: Annotated[bool, typer.Option(help="Also beyond twice the history")] = False,
    as_json: JsonOption = False,
) -> None:
    """What a measured load will be, with intervals, and the peak that capacity must hold."""
    need_extra()
    from loggos.planner.forecast.forecast import forecast as foresee

    load = request_rate(observed(Wanted(data, query, days, step_s, token), as_json), series)
    found = foresee(load, months * MONTH_S, seed=SEED, lead_s=lead_days * DAY_S, force=force)
    tell(found.findings, as_json)
    show_forecast(found, as_json)


def show_forecast(found: Forecast, as_json: bool) -> None:
    from loggos.cli.tables import show

    if as_json:
        peak = {"at_s": found.peak.at_s, "range": found.peak.range._asdict(), "hold": found.peak.hold._asdict()}
        scores = [{"model": score.model, "mase": score.mase} for score in found.scores]
        print(json.dumps({"model": found.model, "beats_naive": found.beats_naive, "peak": peak, "scores": scores}))
        return
    print(found.summary())
    rows = [(score.model, f"{score.mase:.3f}", str(score.origins)) for score in found.scores]
    show("Backtest: mean absolute scaled error, less is better", ("model", "MASE", "origins"), rows)
