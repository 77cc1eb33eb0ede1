"""Small wrong changes to Python source, one at a time: the mutants that the tests should kill.

A mutation is a piece of text to be replaced, found by walking the syntax tree, so line numbers stay those of the original.
Never mutated, for no test should notice: docstrings, annotations, imports, `assert`, what an error says, f-strings, names
kept as strings, decorators, `__slots__`, abstract methods. Everything else is fair game, equivalent or not: what a survivor
means is for argued.py to say. Pure: source text in, mutations out.

Source: DeMillo, Lipton, Sayward, Hints on Test Data Selection (1978); the operators are those of mutmut and cosmic-ray, and
removal of statements (Untch's SDL).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
NUMBERS = ("int", "Slot", "Ballot")


class Mutation(NamedTuple):
    """Replace source[start:end] (offsets in characters) by `text`."""

    file: str  # path in src/loggos
    line: int
    function: str  # qualified name; "" for module level
    kind: str
    start: int
    end: int
    before: str
    text: str

    @property
    def key(self) -> str:
        """Names this mutation in one version of its file."""
        return f"{self.file}:{self.start}:{self.end}:{self.text}"

    def apply(self, source: str) -> str:
        assert source[self.start : self.end] == self.before, self
        return source[: self.start] + self.text + source[self.end :]

    def lines(self, source: str) -> tuple[str, str]:
        """The line (or lines) before and after, stripped, on one line."""
        begin = source.rfind("\n", 0, self.start) + 1
        stop = source.find("\n", self.end)
        stop = len(source) if stop < 0 else stop
        after = source[begin : self.start] + self.text + source[self.end : stop]
        return " ".join(source[begin:stop].split()), " ".join(after.split())


class Mutator:
    """All mutations of one file."""

    def __init__(self, file: str, source: str) -> None:
        self.file, self.source = file, source
        self.tree = ast.parse(source)
        self._starts = [0]  # of each line, in characters
        self._lines = source.splitlines(keepends=True)
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._function = ""
        self._returns = ""
        self._found: list[Mutation] = []

    def mutations(self) -> list[Mutation]:
        """In source order, without duplicates."""
        self._block(self.tree.body)
        unique = {(m.start, m.end, m.text): m for m in sorted(self._found, key=lambda m: (m.start, m.end, m.text))}
        return list(unique.values())

    # --- places --------------------------------------------------------------------------------------------------------------

    def _offset(self, line: int, column_bytes: int) -> int:
        text = self._lines[line - 1]
        return self._starts[line - 1] + len(text.encode()[:column_bytes].decode())

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno is not None and node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def _replace(self, kind: str, node: ast.expr | ast.stmt, text: str) -> None:
        start, end = self._span(node)
        self._add(kind, node.lineno, start, end, text)

    def _add(self, kind: str, line: int, start: int, end: int, text: str) -> None:
        self._found.append(Mutation(self.file, line, self._function, kind, start, end, self.source[start:end], text))

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end]

    # --- statements ----------------------------------------------------------------------------------------------------------

    def _block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        handler: Callable[[Mutator, ast.stmt], None] | None = STATEMENTS.get(type(node))
        if handler is not None:
            handler(self, node)
            return
        for child in ast.iter_child_nodes(node):
            self._any(child)

    def _any(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._statement(node)
        elif isinstance(node, ast.expr):
            self._expression(node)
        else:  # withitem, excepthandler, match_case, …
            for child in ast.iter_child_nodes(node):
                self._any(child)

    def _skip(self, node: ast.stmt) -> None:
        """Nothing in it is for a test to notice."""

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if any(ast.unparse(decorator).endswith(("abstractmethod", "overload")) for decorator in node.decorator_list):
            return
        outer = self._function, self._returns
        self._function = f"{outer[0]}.{node.name}" if outer[0] else node.name
        if not isinstance(node, ast.ClassDef):
            self._returns = ast.unparse(node.returns) if node.returns is not None else ""
            for default in [*node.args.defaults, *[default for default in node.args.kw_defaults if default is not None]]:
                self._expression(default)
        self._block(node.body)
        self._function, self._returns = outer

    def _if(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.dump(node.test):
            return
        self._condition(node.test)
        self._block(node.body)
        self._block(node.orelse)

    def _while(self, node: ast.While) -> None:
        self._condition(node.test)
        self._block(node.body)
        self._block(node.orelse)

    def _condition(self, test: ast.expr) -> None:
        self._negate(test)
        self._expression(test)

    def _negate(self, test: ast.expr) -> None:
        """Comparisons and `not` have their own opposites."""
        is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if not is_not and not isinstance(test, ast.Compare | ast.Constant):
            self._replace("negation", test, f"not ({self._text(test)})")

    def _assign(self, node: ast.Assign | ast.AugAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "__slots__" for target in targets):
            return
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets) or isinstance(node, ast.AugAssign):
            self._replace("statement removed", node, "pass")
        if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            other = ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            self._replace("arithmetic", node, ast.unparse(ast.fix_missing_locations(other)))
        is_alias = not self._function and isinstance(node.value, ast.BinOp)  # a union of types
        if not is_alias:
            self._expression(node.value)
        for target in targets:
            if isinstance(target, ast.Subscript):
                self._expression(target.slice)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Attribute) and node.value is not None:
            self._replace("statement removed", node, "pass")
        if node.value is not None:
            self._expression(node.value)

    def _call_statement(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await):
            self._replace("statement removed", node, "pass")
            self._expression(node.value)

    def _raise(self, node: ast.Raise) -> None:
        self._replace("statement removed", node, "pass")

    def _delete(self, node: ast.Delete) -> None:
        self._replace("statement removed", node, "pass")

    def _break(self, node: ast.Break) -> None:
        self._replace("break and continue", node, "continue")

    def _continue(self, node: ast.Continue) -> None:
        self._replace("break and continue", node, "break")

    def _return(self, node: ast.Return) -> None:
        value = node.value
        if value is None:
            self._replace("statement removed", node, "pass")
            return
        text = self._text(value)
        if self._returns == "bool":
            if not isinstance(value, ast.Compare | ast.Constant):
                self._replace("return value", value, f"not ({text})")
        elif self._returns in NUMBERS:
            self._replace("return value", value, f"({text}) + 1")
        elif self._returns.startswith(("tuple", "list")) and text not in ("()", "[]"):
            self._replace("return value", value, "()")
        elif not (isinstance(value, ast.Constant) and value.value is None) and not isinstance(value, ast.Yield):
            self._replace("return value", value, "None")
        self._expression(value)

    # --- expressions ---------------------------------------------------------------------------------------------------------

    def _expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.JoinedStr):
            return
        handler: Callable[[Mutator, ast.expr], None] | None = EXPRESSIONS.get(type(node))
        if handler is not None:
            handler(self, node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._expression(child)
            elif isinstance(child, ast.keyword):
                self._expression(child.value)
            elif isinstance(child, ast.comprehension):
                self._expression(child.iter)
                for test in child.ifs:
                    self._condition(test)

    def _compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for place, operator in enumerate(node.ops):
            start, end = self._span(operands[place])[1], self._span(operands[place + 1])[0]
            gap = self.source[start:end]
            words = ast.unparse(ast.Compare(ast.Name("a"), [operator], [ast.Name("b")]))[1:-1]
            for other in COMPARISONS[type(operator)]:
                self._add("comparison", node.lineno, start, end, gap.replace(words.strip(), other, 1))

    def _bool_op(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._replace("and, or", node, f"({ast.unparse(ast.BoolOp(other, node.values))})")
        for place in range(len(node.values)):
            kept = [value for number, value in enumerate(node.values) if number != place]
            rest = kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
            self._replace("and, or", node, f"({ast.unparse(rest)})")

    def _unary(self, node: ast.UnaryOp) -> None:
        self._replace("sign", node, f"({self._text(node.operand)})")

    def _binary(self, node: ast.BinOp) -> None:
        is_text = any(isinstance(side, ast.List | ast.JoinedStr) or _is_text(side) for side in (node.left, node.right))
        if type(node.op) in ARITHMETIC and not is_text:
            other = ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
            self._replace("arithmetic", node, f"({ast.unparse(other)})")

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace("constant", node, str(not value))
        elif isinstance(value, int):
            self._replace("constant", node, str(value + 1))
            if value > 0:
                self._replace("constant", node, str(value - 1))
        elif isinstance(value, bytes):
            self._replace("constant", node, repr(value + b"?"))

    def _call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name):
            return
        name = node.func.id
        if name in TWINS:
            self._replace("min, max and their like", node.func, TWINS[name])
        if name in ("min", "max") and len(node.args) == 2:
            for argument in node.args:
                if not isinstance(argument, ast.Starred):
                    self._replace("min, max and their like", node, f"({self._text(argument)})")
        if name == "tuple" and node.args:
            self._replace("emptied", node, "()")
        if name == "reversed":
            self._replace("min, max and their like", node, f"({self._text(node.args[0])})")

    def _if_expression(self, node: ast.IfExp) -> None:
        self._negate(node.test)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


STATEMENTS: dict[type[ast.stmt], Callable[..., None]] = {
    ast.Import: Mutator._skip,
    ast.ImportFrom: Mutator._skip,
    ast.Assert: Mutator._skip,
    ast.FunctionDef: Mutator._definition,
    ast.AsyncFunctionDef: Mutator._definition,
    ast.ClassDef: Mutator._definition,
    ast.If: Mutator._if,
    ast.While: Mutator._while,
    ast.Assign: Mutator._assign,
    ast.AugAssign: Mutator._assign,
    ast.AnnAssign: Mutator._annotated,
    ast.Expr: Mutator._call_statement,
    ast.Raise: Mutator._raise,
    ast.Delete: Mutator._delete,
    ast.Break: Mutator._break,
    ast.Continue: Mutator._continue,
    ast.Return: Mutator._return,
}
EXPRESSIONS: dict[type[ast.expr], Callable[..., None]] = {
    ast.Compare: Mutator._compare,
    ast.BoolOp: Mutator._bool_op,
    ast.UnaryOp: Mutator._unary,
    ast.BinOp: Mutator._binary,
    ast.Constant: Mutator._constant,
    ast.Call: Mutator._call,
    ast.IfExp: Mutator._if_expression,
}


def mutations(file: str, source: str) -> list[Mutation]:
    """Every mutation of one file."""
    return Mutator(file, source).mutations()


def is_change(source: str, mutation: Mutation) -> bool:
    """Does the mutated source parse, to something else than the original?"""
    try:
        mutated = ast.dump(ast.parse(mutation.apply(source)))
    except SyntaxError:
        return False
    return mutated != ast.dump(ast.parse(source))
