"""The tidy rules as pure functions: source text in, findings out ("path:line: what").

Each rule is proven on a bad sample in test_rules.py; test_tidy.py applies them all to the code base. Nothing here opens a file.
What ruff checks (line length, imports, names) is not repeated here.
Source: docs in tests/README.md; the idea is TigerBeetle's tidy.zig (style as a test).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
PURE_FOLDERS = (
    "consensus/", "check/", "des/", "draw/", "fleet/scheduler/",
    "balance/types.py", "balance/policies/", "balance/filters/", "balance/guards/", "balance/balancer.py", "balance/farm/",
    "planner/types.py", "planner/maths/", "planner/fit/", "planner/forecast/",
    "planner/plan/", "planner/advise/", "planner/report/",
)  # fmt: skip
IMPURE = ("asyncio", "time", "random", "os", "socket", "threading", "logging", "datetime", "secrets", "uuid", "uvloop", "select")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """One Python file: its path from the root of the checkout, its text, its syntax tree."""

    path: str
    text: str
    tree: ast.Module


def source(path: str, text: str) -> Source:
    """Parse; SyntaxError names the file."""
    return Source(path, text, ast.parse(text, filename=path))


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its qualified name (`Class.method`, `outer.inner`)."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, Function):
            yield prefix + child.name, child
        inner = f"{prefix}{child.name}." if isinstance(child, Function | ast.ClassDef) else prefix
        yield from functions(child, inner)


def function_at(tree: ast.AST, line: int) -> str:
    """The qualified name of the innermost function around a line; "" at module level."""
    around = [name for name, node in functions(tree) if node.lineno <= line <= (node.end_lineno or node.lineno)]
    return around[-1] if around else ""


def function_lines(node: Function) -> int:
    """Lines from `def` to the end, docstring and nested functions included, decorators not."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def long_files(file: Source, allowed: Collection[str] = ()) -> Iterator[str]:
    lines = len(file.text.splitlines())
    if lines > FILE_LINES_MAX and file.path not in allowed:
        yield f"{file.path}:1: {lines} lines; the limit is {FILE_LINES_MAX}"


def long_functions(file: Source, allowed: Collection[tuple[str, str]] = (), limit: int = FUNCTION_LINES_MAX) -> Iterator[str]:
    for name, node in functions(file.tree):
        if function_lines(node) > limit and (file.path, name) not in allowed:
            yield f"{file.path}:{node.lineno}: {name} has {function_lines(node)} lines; the limit is {limit}"


def missing_docstring(file: Source) -> Iterator[str]:
    if not (ast.get_docstring(file.tree) or "").strip():
        yield f"{file.path}:1: the module does not open with a docstring that says what it is"


def broad_excepts(file: Source, allowed: Collection[tuple[str, str]] = ()) -> Iterator[str]:
    """`except:`, `except Exception`, `except BaseException` and `suppress(Exception)` hide what nobody thought of.

    A handler that cleans up and ends in a bare `raise` hides nothing.
    """
    broad = {"Exception", "BaseException"}
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ExceptHandler | ast.Call):
            continue
        caught: list[ast.expr | None] = []
        line = node.lineno
        if isinstance(node, ast.ExceptHandler):
            if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
                continue
            caught = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type]
        elif called(node) == "suppress":
            caught = list(node.args)
        hits = [c for c in caught if c is None or (isinstance(c, ast.Name) and c.id in broad)]
        where = function_at(file.tree, line) if hits else ""
        if hits and (file.path, where) not in allowed:
            yield f"{file.path}:{line}: {where} catches everything; name the errors, or give a reason in tests/tidy/allowed.py"


def called(node: ast.Call) -> str:
    """The last name of what is called: `a.b.f(...)` and `f(...)` give "f"."""
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def prints(file: Source) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{file.path}:{node.lineno}: print outside the command line; log, or return the text"


def bare_tasks(file: Source, allowed: Collection[tuple[str, str]] = ()) -> Iterator[str]:
    """A task that nobody supervises dies in silence: use Spawner.spawn, or an asyncio.TaskGroup."""
    items = [item for node in ast.walk(file.tree) if isinstance(node, ast.AsyncWith) for item in node.items]
    groups = {
        f"{item.optional_vars.id}.create_task"
        for item in items
        if isinstance(item.optional_vars, ast.Name) and ast.unparse(item.context_expr).endswith("TaskGroup()")
    }
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and called(node) in ("create_task", "ensure_future"):
            if ast.unparse(node.func) in groups:
                continue
            where = function_at(file.tree, node.lineno)
            if (file.path, where) not in allowed:
                yield f"{file.path}:{node.lineno}: {where} makes a bare task ({called(node)}); spawn through the Spawner port"


def hollow_functions(file: Source) -> Iterator[str]:
    """A function whose whole body raises NotImplementedError pretends to be there; an @abstractmethod does not."""
    for name, node in functions(file.tree):
        if any(ast.unparse(decorator).endswith("abstractmethod") for decorator in node.decorator_list):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if len(body) == 1 and isinstance(body[0], ast.Raise) and body[0].exc is not None:
            raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
            if isinstance(raised, ast.Name) and raised.id == "NotImplementedError":
                yield f"{file.path}:{node.lineno}: {name} only raises NotImplementedError; build it, or mark it @abstractmethod"


def monkeypatches(file: Source) -> Iterator[str]:
    """Tests inject through constructors; they do not rewrite other modules."""
    for node in ast.walk(file.tree):
        argument = isinstance(node, ast.arg) and node.arg == "monkeypatch"
        name = isinstance(node, ast.Name) and node.id in ("MonkeyPatch", "monkeypatch")
        attribute = isinstance(node, ast.Attribute) and node.attr == "MonkeyPatch"
        mock = False
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            mock = any(f"{base}{alias.name}".startswith("unittest.mock") for alias in node.names)
        if argument or name or attribute or mock:
            yield f"{file.path}:{node.lineno}: monkeypatching; inject through a constructor instead"  # type: ignore[attr-defined]


def constant_asserts(file: Source) -> Iterator[str]:
    """`assert True`, or an assert on a tuple: it cannot fail."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Assert) and (
            (isinstance(node.test, ast.Constant) and node.test.value) or (isinstance(node.test, ast.Tuple) and node.test.elts)
        ):
            yield f"{file.path}:{node.lineno}: this assert cannot fail"


# --- imports and purity --------------------------------------------------------------------------------------------------


def imports(file: Source) -> list[tuple[int, str]]:
    """(line, dotted name) of everything imported for use, at any depth; `from a import b` gives both a and a.b."""
    found = []
    for node in runtime_nodes(file.tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = file.path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").split("/")
                is_package = file.path.endswith("/__init__.py")
                keep = len(package) - node.level + (1 if is_package else 0)
                base = ".".join(package[:keep] + ([node.module] if node.module else []))
            found.append((node.lineno, base))
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Like ast.walk, without what stands under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield child
        yield from runtime_nodes(child)


def is_pure_by_rule(path: str) -> bool:
    """Files that decide and never do: state machines, commands, codecs, and everything that PURE_FOLDERS names."""
    if path.startswith(tuple(f"src/loggos/{folder}" for folder in PURE_FOLDERS)):
        return True
    return path.startswith("src/loggos/") and path.rsplit("/", 1)[-1] in ("machine.py", "commands.py", "codec.py")


def impure(files: Mapping[str, Source]) -> Iterator[str]:
    """Pure files, and all of Loggos that they use (but base/, whose ports name asyncio's types), import no world.

    `files`: dotted module name -> source.
    """
    why: dict[str, str] = {name: name for name, file in files.items() if is_pure_by_rule(file.path)}
    queue = list(why)
    for module in queue:  # grows while we walk it
        file = files[module]
        for line, name in imports(file):
            if name.split(".")[0] in IMPURE:
                through = "" if why[module] == module else f" (used by {why[module]})"
                yield f"{file.path}:{line}: a pure module{through} imports {name}"
            elif name in files and name not in why and name != "loggos" and not name.startswith("loggos.base"):
                why[name] = why[module]
                queue.append(name)


# --- any text ------------------------------------------------------------------------------------------------------------

MACHINE_PATH = re.compile("/" + r"(?:home/[a-z][\w.-]*/|Users/[A-Za-z][\w.-]*/|root/\.)")
ADDRESS = re.compile(r"\b(?:https?|ftp|git\+\w+)://", re.IGNORECASE)


def machine_paths(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATH.search(line):
            yield f"{path}:{number}: the path of somebody's machine"


def addresses(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if ADDRESS.search(line):
            yield f"{path}:{number}: a download address; packages are named, never located"
