"""The report of a mutation run: the share killed per file, and every survivor with its reason. Values in, Markdown out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.mutation.argued import reason_for

KILLED_PERCENT_LEAST = 80.0


class Result(NamedTuple):
    """One mutant and its verdict. `by`: the test that killed it; `how`: failed, violation, crash or timeout."""

    file: str
    line: int
    function: str
    kind: str
    before: str
    after: str
    killed: bool
    by: str = ""
    how: str = ""
    cpu_s: float = 0.0


Reason = Callable[[Result], str]


def reason_of(result: Result) -> str:
    """Why this survivor is none; "" for what was killed, and for what nobody has argued away."""
    return "" if result.killed else reason_for(result.file, result.function, result.before, result.after)


def percent(killed: int, total: int) -> float:
    return 100.0 * killed / total if total else 0.0


def killed_percent(results: Sequence[Result]) -> float:
    """Of all that were tried, argued away or not."""
    return percent(sum(result.killed for result in results), len(results))


def killed_percent_of_real(results: Sequence[Result], reason: Reason = reason_of) -> float:
    """Without those argued to be equivalent."""
    return killed_percent([result for result in results if not reason(result)])


def table(results: Sequence[Result], reason: Reason) -> list[str]:
    lines = ["| file | mutants | killed | share | survived, argued | survived, open |", "|---|---|---|---|---|---|"]
    groups = {file: [result for result in results if result.file == file] for file in sorted({r.file for r in results})}
    for file, group in [*groups.items(), ("**all**", list(results))]:
        killed = sum(result.killed for result in group)
        argued = sum(bool(reason(result)) for result in group)
        name = file if file.startswith("*") else f"`{file}`"
        open_ = len(group) - killed - argued
        lines.append(f"| {name} | {len(group)} | {killed} | {killed_percent(group):.0f} % | {argued} | {open_} |")
    return lines


def survivors(results: Sequence[Result], reason: Reason) -> list[str]:
    lines = []
    for result in results:
        if not result.killed:
            lines += [
                f"- `{result.file}:{result.line}` {result.function or '(module)'}, {result.kind}",
                f"  - before: `{result.before}`",
                f"  - after: `{result.after}`",
                f"  - {reason(result) or '**open**: no test notices'}",
            ]
    return lines or ["None."]


def killers(results: Sequence[Result]) -> list[str]:
    counts: dict[str, int] = {}
    for result in results:
        if result.killed:
            name = result.by.split("::")[0].split(" of seed")[0]
            counts[name] = counts.get(name, 0) + 1
    hangs = sum(result.how == "timeout" for result in results)
    lines = [f"- {name}: {count}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return [*lines, f"- of these, killed because they hung: {hangs}"]


def markdown(results: Sequence[Result], command: str, commit: str, reason: Reason = reason_of) -> str:
    """The whole page."""
    return "\n".join(
        [
            "# Mutation run over `consensus/` and `storage/`",
            "",
            "Each mutant is one small wrong change to the code; the tests should notice it. How mutants are made: `mutator.py`;",
            "which tests judge them: `plan.py`; why a survivor may be none: `argued.py`. Written by the command itself.",
            "",
            f"    {command}",
            "",
            f"Commit: {commit}",
            "",
            f"**Killed: {killed_percent(results):.1f} %** of {len(results)} sampled mutants; "
            f"{killed_percent_of_real(results, reason):.1f} % without those argued below to change nothing that matters.",
            "",
            *table(results, reason),
            "",
            "## What killed them",
            "",
            *killers(results),
            "",
            "## Survivors",
            "",
            *survivors(results, reason),
            "",
        ]
    )
