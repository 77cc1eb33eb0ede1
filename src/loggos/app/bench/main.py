"""`python -m loggos.app.bench.main coordination|failover …`: the benchmarks without the rest of the command line.

Exit code 0: measured. 1: a load failed or an answer was wrong. 2: it could not start (one line says why).
130: interrupted.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from loggos.app.bench import coordination, failover, report
from loggos.base.errors import LoggosError


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def number(text: str) -> int:
    """Of rounds or repeats: at least one."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1: nothing would be measured")
    return value


def seconds(text: str) -> float:
    """Of measuring or waiting: more than none, and an end."""
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time: write more than 0 seconds")
    return value


def parser() -> argparse.ArgumentParser:
    """Every option of both benchmarks."""
    top = argparse.ArgumentParser(prog="loggos bench", description="Measure Loggos and a peer side by side on this machine.")
    commands = top.add_subparsers(dest="benchmark", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--peer", choices=("zookeeper", "none"), default="zookeeper", help="what to compare with")
    common.add_argument("--skip-loggos", action="store_true", help="measure the peer alone")
    common.add_argument("--data", type=Path, help="where the clusters keep their data (a real disk)")
    common.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    common.add_argument("--record", type=Path, metavar="RESULTS.md", help="append a dated section to this file")
    speed = commands.add_parser("coordination", parents=[common], help="throughput, latency, CPU, memory, cold start")
    speed.add_argument("--seconds", type=seconds, default=5.0, help="measured per repeat")
    speed.add_argument("--warmup", type=float, default=2.0, help="discarded before each")
    speed.add_argument("--repeats", type=number, default=3)
    speed.add_argument("--only", action="append", choices=[scenario.key for scenario in coordination.SCENARIOS], default=[])
    death = commands.add_parser("failover", parents=[common], help="the longest gap between acknowledged writes")
    death.add_argument("--rounds", type=number, help="how often the leader is hit (default: 20 kills, 5 pauses or cuts)")
    fault = death.add_mutually_exclusive_group()
    fault.add_argument("--pause", action="store_true", help="pause the leader instead of killing it")
    fault.add_argument("--cut", action="store_true", help="cut the leader off from the other nodes instead (root, nft)")
    death.add_argument("--hold", type=seconds, default=10.0, help="seconds it stays paused or cut off")
    return top


def measure(options: argparse.Namespace) -> report.Report:
    """Run the benchmark that was asked for."""
    if options.benchmark == "coordination":
        return coordination.run(
            coordination.Options(
                peer=options.peer,
                loggos=not options.skip_loggos,
                seconds=options.seconds,
                warmup_s=options.warmup,
                repeats=options.repeats,
                only=tuple(options.only),
                data=options.data,
                say=say,
            )
        )
    fault = "pause" if options.pause else "cut" if options.cut else "kill"
    return failover.run(
        failover.Options(
            peer=options.peer,
            loggos=not options.skip_loggos,
            fault=fault,
            rounds=options.rounds or (20 if fault == "kill" else 5),
            hold_s=options.hold,
            data=options.data,
            say=say,
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    try:
        result = measure(options)
    except LoggosError as error:
        say(f"loggos bench: {error}")
        return 2
    except KeyboardInterrupt:
        say("loggos bench: interrupted; nothing was recorded")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    if options.json:
        print(report.to_json(result))
    else:
        report.write(result)
    if options.record is not None:
        report.append_results(result, options.record, report.command_words(words))
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
