#!/usr/bin/env python3
"""One script for everything a developer does: `python3 dev.py tour | test | test-full | check | sim | bench | venv`.

Standard library only. It sets up .venv by itself (no root, no compiler, no make) and does so again only when pyproject.toml,
constraints.txt or the interpreter changed. Every failure is one clear line and a non-zero exit code.
It knows nothing of Loggos but its command line. Syntax and annotations stay readable for Python 3.6, so that a Python that is
too old is told so instead of failing on this file.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
PYTHON_MIN = (3, 11)
EXTRAS = "dev"
TEST_PROCESSES_MAX = 4  # more would only wait for the one disk that real nodes sync to
STAMP_VERSION = "1"  # raise it when set-up itself changes
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
NO_PIP = (
    "this Python has neither ensurepip nor pip, so no .venv can be made; "
    "install python3-venv (Debian, Ubuntu: apt-get install python3-venv) or any Python >= 3.11 with pip, and run this again"
)


class DevError(Exception):
    """What went wrong and how to mend it, in one line."""


def say(text: "str") -> None:
    print(text, file=sys.stderr, flush=True)


# --- a Python that is new enough -----------------------------------------------------------------------------------------


def ensure_python() -> None:
    """Go on, under another interpreter of this machine if this one is too old."""
    if sys.version_info[:2] >= PYTHON_MIN:
        return
    for minor in range(20, PYTHON_MIN[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)
        if found and subprocess.call([found, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, os.path.abspath(__file__), *sys.argv[1:]])
    raise DevError(
        "Python %d.%d or newer is needed; this is %d.%d, and no newer one is on the PATH" % (*PYTHON_MIN, *sys.version_info[:2])
    )


# --- the virtual environment ---------------------------------------------------------------------------------------------


class Venv:
    """`.venv` of a checkout: made when absent or broken, filled when its stamp is not that of the files it was filled from."""

    def __init__(self, root: "str" = ROOT, python: "str" = sys.executable) -> None:
        self.root, self.base = root, python
        self.path = os.path.join(root, ".venv")
        self.bin = os.path.join(self.path, "Scripts" if os.name == "nt" else "bin")
        self.python = os.path.join(self.bin, "python")
        self.stamp_path = os.path.join(self.path, "loggos-stamp")
        self.constraints = os.path.join(root, "constraints.txt")
        self.log = ""  # what the last command printed

    def ensure(self) -> None:
        """Ready to use after this; instant when nothing changed."""
        if self.is_current():
            return
        with self.locked():
            if not self.is_current():  # another dev.py may have been faster
                self.build()

    def is_current(self) -> "bool":
        try:
            with open(self.stamp_path, encoding="utf-8") as stamp:
                return stamp.read() == self.stamp() and os.path.exists(self.python)
        except OSError:
            return False

    def stamp(self) -> "str":
        """Changes whenever what set-up would install changes, and when the checkout moves (scripts hold its path)."""
        digest = hashlib.sha256()
        for name in ("pyproject.toml", "constraints.txt"):
            with open(os.path.join(self.root, name), "rb") as source:
                digest.update(source.read() + b"\0")
        return "%s %s %s" % (STAMP_VERSION, digest.hexdigest(), os.path.realpath(self.root))

    @contextlib.contextmanager
    def locked(self):  # type: ignore[no-untyped-def]
        """One set-up at a time per checkout."""
        try:
            import fcntl
        except ImportError:  # not POSIX
            yield
            return
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def build(self) -> None:
        started = time.monotonic()
        if not os.access(self.root, os.W_OK):
            raise DevError("%s is not writable, so no .venv can be made in it; use a checkout of your own" % self.root)
        say("dev.py: setting up .venv (once; a minute or so)")
        if self.is_moved() or not self.has_pip():
            self.create()
        self.install()
        with open(self.stamp_path, "w", encoding="utf-8") as stamp:
            stamp.write(self.stamp())
        say("dev.py: .venv is ready after %.0f s" % (time.monotonic() - started))

    def is_moved(self) -> "bool":
        """Was it filled in another place? Its scripts would still run the Python of that place."""
        try:
            with open(self.stamp_path, encoding="utf-8") as stamp:
                return not stamp.read().endswith(" " + os.path.realpath(self.root))
        except OSError:
            return False

    def has_pip(self) -> "bool":
        check = "import sys, pip; sys.exit(sys.version_info[:2] < %r)" % (PYTHON_MIN,)
        return os.path.exists(self.python) and self.run([self.python, "-c", check])

    def create(self) -> None:
        """Try each way of making a virtual environment with pip in it, the usual one first."""
        reasons = []
        for way in (self.by_venv, self.by_virtualenv, self.by_system_pip, self.by_fetched_virtualenv):
            self.clear()
            if way() and self.has_pip():
                return
            reasons.append(self.told())
        self.clear()
        if not self.run([self.base, *PIP, "--version"]):
            raise DevError(NO_PIP)
        raise DevError("no .venv could be made with %s; venv said: %s; pip said: %s" % (self.base, reasons[0], reasons[-1]))

    def by_venv(self) -> "bool":
        return self.run([self.base, "-m", "venv", self.path])

    def by_virtualenv(self) -> "bool":
        if self.run([self.base, "-m", "virtualenv", "--quiet", self.path]):
            return True
        tool = shutil.which("virtualenv")
        return tool is not None and self.run([tool, "--quiet", "--python", self.base, self.path])

    def by_system_pip(self) -> "bool":
        """ensurepip is missing (Debian without python3-venv), but pip is there: it can put a pip into a bare environment."""
        if not self.run([self.base, "-m", "venv", "--without-pip", self.path]):
            return False
        if not self.run([self.python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]):
            return False
        fetch = [*PIP, "install", "--quiet", "--constraint", self.constraints, "--target", self.last_line(), "pip"]
        return self.run([self.base, *fetch])

    def by_fetched_virtualenv(self) -> "bool":
        """The venv module is missing, but pip is there: fetch virtualenv next to the environment and use it once."""
        tools = self.path + "-tools"
        try:
            fetch = [self.base, *PIP, "install", "--quiet", "--target", tools, "--constraint", self.constraints, "virtualenv"]
            if not self.run(fetch):
                return False
            return self.run([self.base, "-m", "virtualenv", "--quiet", self.path], PYTHONPATH=tools)
        finally:
            shutil.rmtree(tools, ignore_errors=True)

    def clear(self) -> None:
        if os.path.islink(self.path):
            os.unlink(self.path)
        elif os.path.exists(self.path):
            shutil.rmtree(self.path)

    def install(self) -> None:
        """Everything at the tested versions, wheels only (no compiler is ever needed), then the checkout itself, editable."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.stamp_path)  # from here until the end it is not what any stamp says
        pip = [self.python, *PIP, "install", "--quiet", "--constraint", self.constraints]
        project = "%s[%s]" % (self.root, EXTRAS)
        for arguments in (["--only-binary", ":all:", "setuptools"],
                          ["--only-binary", ":all:", "--no-build-isolation", "--editable", project]):
            if not self.run(pip + arguments):
                with open(os.path.join(self.path, "setup.log"), "w", encoding="utf-8") as log:
                    log.write(self.log)
                raise DevError(
                    "the dependencies could not be installed (is a package index reachable?): %s; more in .venv/setup.log"
                    % self.told()
                )

    def run(self, command: "list[str]", **environment: "str") -> "bool":
        """Run it, keep what it printed, and say whether it succeeded."""
        variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        variables.update(environment)
        try:
            done = subprocess.run(
                command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                universal_newlines=True, errors="replace",
            )
        except OSError as error:
            self.log = str(error)
            return False
        self.log = done.stdout
        return done.returncode == 0

    def last_line(self) -> "str":
        return ([line.strip() for line in self.log.splitlines() if line.strip()] or ["nothing"])[-1]

    def told(self) -> "str":
        """The line of the output that tells most: its first error, else its last line."""
        errors = [line.strip() for line in self.log.splitlines() if line.startswith("ERROR:")]
        return (errors or [self.last_line()])[0]


# --- the commands --------------------------------------------------------------------------------------------------------


def hand_over(command: "list[str]") -> "int":
    """Become the command, so that signals and the exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.chdir(ROOT)
        os.execv(command[0], command)
    return subprocess.call(command, cwd=ROOT)


def loggos(venv: "Venv", *arguments: "str") -> "list[str]":
    return [os.path.join(venv.bin, "loggos"), *arguments]


def pytest(venv: "Venv", *arguments: "str") -> "list[str]":
    return [venv.python, "-m", "pytest", *arguments]


def check_steps(venv: "Venv") -> "list[tuple[str, list[str]]]":
    return [
        ("ruff", [os.path.join(venv.bin, "ruff"), "check", "--quiet", "--output-format=concise", "."]),
        ("types", [os.path.join(venv.bin, "mypy")]),
        ("layers", [os.path.join(venv.bin, "lint-imports"), "--no-logo"]),
        ("tidy", pytest(venv, "-q", "--tb=short", "-m", "not full", "tests/tidy")),
    ]


def full_steps(venv: "Venv") -> "list[tuple[str, list[str]]]":
    """What `test-full` runs, one row a step. A step that does not exist yet fails: nothing here passes by being absent."""
    return [
        *check_steps(venv),
        ("tour", loggos(venv, "tour")),
        ("tests", pytest(venv, "-q", "--hypothesis-profile=full", "tests")),
        ("seeds", loggos(venv, "sim", "--seeds", "0..299")),
        ("mutation", [venv.python, "tests/mutation/run.py"]),
    ]


def run_steps(steps: "list[tuple[str, list[str]]]", together: "bool") -> "int":
    """Run every step, the rest too when one fails; a table at the end. `together`: at once, and silent when they pass."""
    rows = []
    started = time.monotonic()
    running = [(name, command, start(command) if together else None) for name, command in steps]
    for name, command, process in running:
        if process is None:
            say("\n== %s: %s" % (name, shown(command)))
            begun = time.monotonic()
            code = subprocess.call(command, cwd=ROOT)
            rows.append((name, code, "%6.1f s" % (time.monotonic() - begun)))
            continue
        output = process.communicate()[0]
        rows.append((name, process.returncode, ""))
        if process.returncode:
            say("\n== %s: %s\n%s" % (name, shown(command), output.rstrip()))
    say("")
    for name, code, took in rows:
        say("  %-10s %-8s %s" % (name, "ok" if code == 0 else "FAILED", took))
    failed = sum(1 for row in rows if row[1])
    say("%s in %.0f s" % ("%d of %d failed" % (failed, len(rows)) if failed else "all passed", time.monotonic() - started))
    return 1 if failed else 0


def start(command: "list[str]") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, errors="replace",
    )


def shown(command: "list[str]") -> "str":
    return " ".join(os.path.relpath(part, ROOT) if part.startswith(ROOT) else part for part in command)


def do_venv(venv: "Venv", arguments: "list[str]") -> "int":
    print(venv.path)
    return 0


def do_tour(venv: "Venv", arguments: "list[str]") -> "int":
    return hand_over(loggos(venv, "tour", *arguments))


def do_sim(venv: "Venv", arguments: "list[str]") -> "int":
    return hand_over(loggos(venv, "sim", *arguments))


def do_bench(venv: "Venv", arguments: "list[str]") -> "int":
    return hand_over(loggos(venv, "bench", *arguments))


def do_test(venv: "Venv", arguments: "list[str]") -> "int":
    """Without arguments: everything, a process per core. With arguments: as pytest has it, so that -x, --pdb and such work."""
    spread = [] if arguments else ["-n", str(min(os.cpu_count() or 1, TEST_PROCESSES_MAX)), "--dist", "loadfile"]
    return hand_over(pytest(venv, "-m", "not full", *spread, *arguments))


def do_test_full(venv: "Venv", arguments: "list[str]") -> "int":
    steps = full_steps(venv)
    names = [name for name, _ in steps]
    unknown = [name for name in arguments if name not in names]
    if unknown:
        raise DevError("test-full has no step %r; it has: %s" % (unknown[0], ", ".join(names)))
    return run_steps([step for step in steps if not arguments or step[0] in arguments], together=False)


def do_check(venv: "Venv", arguments: "list[str]") -> "int":
    return run_steps(check_steps(venv), together=True)


COMMANDS = {
    "tour": (do_tour, "the guided tour: a real three-node cluster on this machine, faults included"),
    "test": (do_test, "the tests, without those marked `full`; arguments go to pytest"),
    "test-full": (do_test_full, "everything: check, tour, all tests, 300 seeds, mutation; or only the steps named"),
    "check": (do_check, "ruff, mypy --strict, the layers, the tidy rules; under a minute"),
    "sim": (do_sim, "`loggos sim`: explore seeds in the simulator; arguments are passed on"),
    "bench": (do_bench, "`loggos bench`: side by side with a peer; arguments are passed on"),
    "venv": (do_venv, "only set up .venv, and print where it is"),
}


def usage() -> "str":
    rows = ["  %-10s %s" % (name, text) for name, (_, text) in COMMANDS.items()]
    return "usage: python3 dev.py COMMAND [ARGUMENTS]\n\n" + "\n".join(rows)


def main(arguments: "list[str]") -> "int":
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        say(usage() if not arguments else "dev.py: no command %r; one of: %s" % (arguments[0], ", ".join(COMMANDS)))
        return 2
    try:
        ensure_python()
        venv = Venv()
        venv.ensure()
        return COMMANDS[arguments[0]][0](venv, arguments[1:])
    except DevError as error:
        say("dev.py: %s" % error)
    except OSError as error:
        say("dev.py: %s" % error)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
