"""The mutation run: how strong are the tests of consensus/ and storage/?

    python -m tests.mutation.run [--sample N] [--seed S] [--jobs J] [--only consensus|storage] [--resume] [--working-tree]
        [--write]

Samples mutants (mutator.py, plan.py) of the last commit and judges each in a private copy (worker.py); the working tree is never
touched. The default seed follows from the commit id, so nobody picks the sample. `--resume` keeps verdicts of earlier runs
for files that did not change: kills always, survivals only while the package and its tests are the same. Exit code 0: at
least 80 % were killed; 1: fewer; 2: the tests fail without any mutation, or a mutant was not what was tested.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # also when run as a script

from tests.mutation import plan  # noqa: E402
from tests.mutation.mutator import Mutation  # noqa: E402
from tests.mutation.report import (  # noqa: E402
    KILLED_PERCENT_LEAST,
    Result,
    killed_percent,
    killed_percent_of_real,
    markdown,
    reason_of,
)

CACHE = Path(__file__).with_name(".cache")
RESULTS = Path(__file__).with_name("RESULTS.md")
NOTES = "## Notes\n"  # what people wrote under this heading is kept when the page is written anew
COPIED = ("pyproject.toml", "src", "tests/__init__.py", "tests/conftest.py", "tests/skip_ledger.py", "tests/skips.txt",
          "tests/golden", "tests/consensus", "tests/storage")  # fmt: skip
BASELINE_CPU_S = 300.0  # without a mutation: generous, this is only a net
CPU_FACTOR, CPU_SPARE_S = 2.0, 10.0  # a mutant that needs more than this over the baseline hangs
WALL_FACTOR = 5.0  # wall time allowed per second of that: the machine may be busy


class RunError(Exception):
    """The run itself cannot be trusted."""


class Bench:
    """A private copy of the checkout, and the process that judges mutants in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._process: subprocess.Popen[str] | None = None

    def copy(self, commit: str = "") -> None:
        """Of the commit; "" for the working tree as it is."""
        self.place.mkdir(parents=True, exist_ok=True)
        if commit:
            archive = ["git", "archive", commit, "--", *COPIED]
            packed = subprocess.run(archive, cwd=ROOT, capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x"], cwd=self.place, input=packed, check=True)
            return
        for name in COPIED:
            source, target = ROOT / name, self.place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copyfile(source, target)

    def start(self, *options: str) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COVERAGE"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), *options],
            cwd=self.place,
            env={**environment, "PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.nice(10),
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def judge(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        job = {"log": str(self.place / "log.txt"), **job}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RunError("the judging process died")
        verdict: dict[str, Any] = json.loads(line)
        if "error" in verdict:
            raise RunError(verdict["error"])
        return verdict

    def judge_mutant(self, file: str, text: str, sentinel: str, limits: dict[str, float]) -> dict[str, Any]:
        """With `text` as the file's contents, which are put back afterwards."""
        path = self.place / "src" / "loggos" / file
        original = path.read_text(encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()
        (self.place / "log.txt").unlink(missing_ok=True)
        try:
            path.write_text(f"{text}\nMUTANT = {sentinel!r}\n", encoding="utf-8")
            module, judges = plan.module_of(file), plan.stages(file, self.place)
            return self.judge({"module": module, "sentinel": sentinel, "stages": judges, **limits})
        finally:
            path.write_text(original, encoding="utf-8")

    def log(self) -> str:
        path = self.place / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


class Ledger:
    """Verdicts of earlier runs, by what was mutated and what judged; one JSON line each."""

    def __init__(self, place: Path, resume: bool) -> None:
        self._hashes = {package: digest(place, package) for package in plan.PACKAGES}
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
        self._path = CACHE / "verdicts.jsonl"
        if resume and self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self._known[row["key"]] = row

    def known(self, mutation: Mutation, source: str) -> dict[str, Any] | None:
        row = self._known.get(self._key(mutation, source))
        if row is not None and not row["killed"] and row["tests"] != self._hashes[mutation.file.split("/")[0]]:
            return None
        return row

    def note(self, mutation: Mutation, source: str, verdict: dict[str, Any]) -> None:
        row = {"key": self._key(mutation, source), "tests": self._hashes[mutation.file.split("/")[0]], **verdict}
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @staticmethod
    def _key(mutation: Mutation, source: str) -> str:
        return f"{mutation.key}:{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def digest(place: Path, package: str) -> str:
    """Of a package's sources and tests."""
    found = hashlib.sha256()
    for folder in (place / "src" / "loggos" / package, place / "tests" / package):
        for path in sorted(folder.rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def commit_id() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def baseline(bench: Bench, packages: Sequence[str]) -> dict[str, dict[str, float]]:
    """The judges pass without a mutation; what they cost bounds what a mutant may."""
    limits = {}
    bench.start("--write-bytecode")
    for package in packages:
        file = {"consensus": "consensus/log.py", "storage": "storage/journal.py"}[package]
        source = (bench.place / "src" / "loggos" / file).read_text(encoding="utf-8")
        generous = {"cpu_s": BASELINE_CPU_S, "wall_s": BASELINE_CPU_S * WALL_FACTOR}
        verdict = bench.judge_mutant(file, source, "no mutation", generous)
        if verdict["killed"]:
            raise RunError(f"{package}: fails without a mutation: {verdict['by']}\n{bench.log()[-4000:]}")
        cpu_s = CPU_FACTOR * max(verdict["cpu_s"]) + CPU_SPARE_S
        limits[package] = {"cpu_s": cpu_s, "wall_s": cpu_s * WALL_FACTOR}
        print(f"{package}: the judges pass without a mutation, in {verdict['cpu_s']} s of CPU", file=sys.stderr, flush=True)
    bench.stop()
    return limits


def judged(benches: list[Bench], mutants: Sequence[Mutation], ledger: Ledger, limits: dict[str, Any]) -> Iterator[Result]:
    """Every mutant with its verdict, in order; as many at a time as there are benches."""
    texts = plan.sources(benches[0].place)
    free = list(benches)

    def one(mutation: Mutation) -> Result:
        source = texts[mutation.file]
        verdict = ledger.known(mutation, source)
        if verdict is None:
            bench = free.pop()
            try:
                limit = limits[mutation.file.split("/")[0]]
                verdict = bench.judge_mutant(mutation.file, mutation.apply(source), mutation.key, limit)
            finally:
                free.append(bench)
            ledger.note(mutation, source, verdict)
        before, after = mutation.lines(source)
        by = verdict["by"] if verdict["killed"] else ""
        how = verdict["how"] if verdict["killed"] else ""
        return Result(mutation.file, mutation.line, mutation.function, mutation.kind, before, after, verdict["killed"], by, how,
                      sum(verdict["cpu_s"]))  # fmt: skip

    with ThreadPoolExecutor(len(benches)) as threads:
        yield from threads.map(one, mutants)


def show(number: int, total: int, result: Result) -> None:
    word = "killed  " if result.killed else "SURVIVED" if not reason_of(result) else "argued  "
    said = f"{result.how}: {result.by}" if result.killed else f"{result.before}  =>  {result.after}"
    where = f"{result.file}:{result.line}"
    print(f"{number:3d}/{total} {word} {where:28s} {result.cpu_s:5.1f} s  {said[:150]}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.mutation.run", description="How strong are the tests of the core?")
    add = found.add_argument
    add("--sample", type=int, default=plan.SAMPLE, metavar="N", help=f"mutants to try (default {plan.SAMPLE})")
    add("--seed", type=int, metavar="S", help="draws the sample (default: from the commit id)")
    add("--jobs", type=int, default=1, metavar="J", help="processes at a time (default 1)")
    add("--only", choices=plan.PACKAGES, help="this package alone")
    add("--resume", action="store_true", help="keep verdicts of earlier runs that still hold")
    add("--working-tree", action="store_true", help="judge what is not committed yet, too")
    add("--write", action="store_true", help=f"also write {RESULTS.relative_to(ROOT)}")
    return found


def run(options: argparse.Namespace, place: Path) -> int:
    commit = commit_id()
    seed = options.seed if options.seed is not None else int(commit[:8] or "0", 16)
    packages = (options.only,) if options.only else plan.PACKAGES
    benches = [Bench(place / str(number)) for number in range(max(1, options.jobs))]
    benches[0].copy("" if options.working_tree else commit)
    limits = baseline(benches[0], packages)
    for bench in benches[1:]:
        shutil.copytree(benches[0].place, bench.place)
    mutants = plan.sample(plan.sources(benches[0].place, packages), options.sample, seed)
    results = []
    began = time.monotonic()
    for bench in benches:
        bench.start()
    for result in judged(benches, mutants, Ledger(benches[0].place, options.resume), limits):
        results.append(result)
        show(len(results), len(mutants), result)
    for bench in benches:
        bench.stop()
    only = f" --only {options.only}" if options.only else ""
    command = f"python -m tests.mutation.run --sample {options.sample} --seed {seed}{only}"
    page = markdown(results, command, "none: the working tree" if options.working_tree or not commit else commit)
    if options.write:
        notes = RESULTS.read_text(encoding="utf-8").partition(NOTES)[1:] if RESULTS.exists() else ()
        RESULTS.write_text(page + "".join(notes), encoding="utf-8")
    print(page)
    print(f"{time.monotonic() - began:.0f} s; {sum(result.cpu_s for result in results):.0f} s of CPU", file=sys.stderr)
    share, real = killed_percent(results), killed_percent_of_real(results)
    print(f"killed {share:.1f} % of {len(results)} ({real:.1f} % without those argued); asked for: {KILLED_PERCENT_LEAST:.0f} %")
    return 0 if share >= KILLED_PERCENT_LEAST else 1


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="loggos-mutation-") as place:
        try:
            return run(options, Path(place))
        except RunError as error:
            print(f"the mutation run cannot be trusted: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
