"""`loggos`: the commands, their options and their exit codes. What they do lives elsewhere and is imported only when asked for.

Output is for people on a terminal and plain text otherwise; `--json` is for programs. Must not hold logic.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from loggos import __version__
from loggos.base.errors import LoggosError
from loggos.base.limits import STATUS_TIMEOUT_MS
from loggos.cli.fleet import fleet_app
from loggos.cli.plan import plan_app

app = typer.Typer(
    name="loggos",
    help="Coordination on one replicated log; balancing, scheduling and planning beside it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Side by side with a peer on this machine: ratios and percentiles.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.add_typer(fleet_app, name="fleet")
app.add_typer(plan_app, name="plan")

DEFAULT_CLUSTER = "127.0.0.1:2181"
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}  # commands with a parser of their own
ClusterOption = Annotated[str, typer.Option("--cluster", envvar="LOGGOS_CLUSTER", help="HOST:PORT[,…] of any node")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs")]


def say(line: str) -> None:
    try:
        print(f"loggos: {line}", file=sys.stderr, flush=True)
    except OSError:
        pass  # a closed terminal must not stop a cluster


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if show:
        print(f"loggos {__version__}")
        raise typer.Exit


@app.command()
def up(
    nodes: Annotated[int, typer.Option(help="How many nodes: 1 to 7")] = 3,
    data: Annotated[Path, typer.Option(help="Where the nodes keep their data")] = Path("loggos-data"),
    base_port: Annotated[int | None, typer.Option(help="First port; node i takes P + 10·(i-1) + 0, 3, 4")] = None,
    ephemeral: Annotated[bool, typer.Option(help="Keep data in a temporary directory, removed at the end")] = False,
    restart: Annotated[bool, typer.Option(help="Start a node again when it dies")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a cluster on this machine, in the foreground, until SIGTERM, SIGINT or SIGHUP. Exit code 1: a node could not start."""
    from loggos.cli.up import UpOptions
    from loggos.cli.up import up as run_up

    options = UpOptions(nodes=nodes, data=None if ephemeral else data, base_port=base_port, as_json=as_json, restart=restart)

    def announce(description: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps(description), flush=True)
        else:
            from loggos.cli.tables import show_nodes

            show_nodes(description)

    raise typer.Exit(run_up(options, announce, say))


@app.command()
def node(
    config: Annotated[Path, typer.Option(help="The node's TOML file")],
    insecure: Annotated[bool, typer.Option(help="Allow public addresses without TLS and authentication")] = False,
) -> None:
    """Run one node of a cluster, in the foreground: what systemd or a container runs."""
    from loggos.cli.process import run_node
    from loggos.node.config import load

    raise typer.Exit(run_node(load(config, insecure=insecure)))


@app.command()
def status(cluster: ClusterOption = DEFAULT_CLUSTER, as_json: JsonOption = False) -> None:
    """What each named node says of itself. Exit code 3 if none answers, 1 if some do not."""
    from loggos.cli.status import ask_all
    from loggos.cli.tables import show_status

    answers = ask_all(cluster, STATUS_TIMEOUT_MS / 1000)
    if as_json:
        print(json.dumps({"nodes": answers}))
    else:
        show_status(answers)
    failed = sum(1 for answer in answers if "error" in answer)
    raise typer.Exit(3 if failed == len(answers) else 1 if failed else 0)


@app.command(context_settings=PASS_ON, add_help_option=False)
def sim(context: typer.Context) -> None:
    """Explore seeds in the simulator; a failure prints the command that replays it."""
    from loggos.app.simulation.main import main as run_sim

    raise typer.Exit(run_sim(context.args))


@app.command()
def tour(
    chapter: Annotated[int | None, typer.Option(help="Only this chapter")] = None,
    report: Annotated[Path, typer.Option(help="Where the report goes")] = Path("tour-report.html"),
) -> None:
    """The guided main job: a real three-node cluster on this machine, faults included."""
    from loggos.app.tour.main import run as run_tour

    raise typer.Exit(run_tour(chapter=chapter, report=report))


@bench_app.command("coordination", context_settings=PASS_ON, add_help_option=False)
def bench_coordination(context: typer.Context) -> None:
    """Throughput, latency, memory and cold start beside Apache ZooKeeper."""
    from loggos.app.bench.main import main as run_bench

    raise typer.Exit(run_bench(["coordination", *context.args]))


@bench_app.command("failover", context_settings=PASS_ON, add_help_option=False)
def bench_failover(context: typer.Context) -> None:
    """The longest gap between acknowledged writes when the leader dies, beside Apache ZooKeeper."""
    from loggos.app.bench.main import main as run_bench

    raise typer.Exit(run_bench(["failover", *context.args]))


def main() -> None:
    """The entry point: errors that are ours to explain become one line and an exit code."""
    try:
        app()
    except LoggosError as error:
        say(str(error))
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
