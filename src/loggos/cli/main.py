"""`loggos`: the commands, their options and their exit codes. What they do lives elsewhere and is imported only when asked for.

Output is for people on a terminal and plain text otherwise; `--json` is for programs. Must not hold logic.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from loggos import __version__
from loggos.base.errors import ConfigError, LoggosError
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
    data: Annotated[str, typer.Option(help="Where the nodes keep their data")] = "loggos-data",
    base_port: Annotated[int | None, typer.Option(help="First port; node i takes P + 10·(i-1) + 0, 3, 4")] = None,
    ephemeral: Annotated[bool, typer.Option(help="Keep data in a temporary directory, removed at the end")] = False,
    restart: Annotated[bool, typer.Option(help="Start a node again when it dies")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a cluster on this machine, in the foreground, until SIGTERM, SIGINT or SIGHUP. Exit code 1: a node could not start."""
    from loggos.cli.up import UpOptions
    from loggos.cli.up import up as run_up

    if not data:  # as a path it would be the working directory
        raise ConfigError("--data is empty: name a directory")
    where = None if ephemeral else Path(data)
    options = UpOptions(nodes=nodes, data=where, base_port=base_port, as_json=as_json, restart=restart)

    def announce(description: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps(description), flush=True)
        else:
            from loggos.cli.tables import show_nodes

            show_nodes(description)

    raise typer.Exit(run_up(options, announce, say))


@app.command()
def node(
    config: Annotated[Path | None, typer.Option(help="The node's TOML file; what follows overrides its keys")] = None,
    number: Annotated[int | None, typer.Option("--id", "--node", help="This node's number")] = None,
    cell: Annotated[str | None, typer.Option(help="The name of the cell")] = None,
    data: Annotated[str | None, typer.Option(help="Where the node keeps its data")] = None,
    host: Annotated[str | None, typer.Option(help="Where it listens; that of its own address unless told")] = None,
    voter: Annotated[list[str] | None, typer.Option(metavar="ID=HOST:PORT", help="Once for each voter, this node too")] = None,
    learner: Annotated[list[str] | None, typer.Option(metavar="ID=HOST:PORT", help="The same for learners")] = None,
    base_port: Annotated[int | None, typer.Option(help="First port P: zookeeper P, console P + 3")] = None,
    zookeeper_port: Annotated[int | None, typer.Option(help="2181 unless told")] = None,
    console_port: Annotated[int | None, typer.Option(help="8080 unless told")] = None,
    tick_ms: Annotated[int | None, typer.Option(help="Session timeouts are 2 to 20 of these; 2000 unless told")] = None,
    connections_per_address_max: Annotated[int | None, typer.Option(help="0: no limit of its own")] = None,
    insecure: Annotated[bool, typer.Option(help="Allow public addresses without TLS and authentication")] = False,
) -> None:
    """Run one node of a cluster, in the foreground: what systemd or a container runs.

    Its configuration is a file, flags, or both: a flag overrides the file's key."""
    from loggos.cli.flags import changes_of
    from loggos.cli.process import run_node
    from loggos.node.config import load

    changes = changes_of(
        id=number,
        cell=cell,
        data=data,
        host=host,
        voters=voter or (),
        learners=learner or (),
        base_port=base_port,
        zookeeper_port=zookeeper_port,
        console_port=console_port,
        tick_ms=tick_ms,
        connections_per_address_max=connections_per_address_max,
    )
    if config is None and (missing := [f"--{key.rstrip('s')}" for key in ("id", "data", "voters") if key not in changes]):
        raise ConfigError(f"a node needs --config, or --id, --data and every --voter: {missing[0]} is missing")
    raise typer.Exit(run_node(load(config, changes, insecure=insecure)))


@app.command()
def status(
    cluster: ClusterOption = DEFAULT_CLUSTER,
    only: Annotated[bool, typer.Option("--only", help="Not the others, though one address is named")] = False,
    as_json: JsonOption = False,
) -> None:
    """What each node says of itself: of one that is named the whole cell, of several just those. Exit code 3 if none answers,
    1 if some do not."""
    from loggos.cli.status import ask_all
    from loggos.cli.tables import show_status

    answers = ask_all(cluster, STATUS_TIMEOUT_MS / 1000, only)
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


def prepare_streams() -> None:
    """What the output's encoding does not have becomes "?", and closed output goes nowhere: neither ends a command halfway."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (lives as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def main() -> None:
    """The entry point: errors that are ours to explain become one line and an exit code."""
    prepare_streams()
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        app.rich_markup_mode = None  # help and usage errors without boxes
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
