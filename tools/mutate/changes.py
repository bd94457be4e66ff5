"""One-line changes to Python sources, such as a slip of the hand makes.

Only the bodies of functions are changed: a module's constants tune, and annotations do not
run. Log lines and assertions stay too, since they are no behaviour.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Change", "changes"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
    ast.LShift: ">>",
}
NAMES = {"max": "min", "min": "max", "any": "all", "all": "any", "ceil": "int"}
# Codes, keys and names of events; sentences for people are not compared.
WORD = re.compile(r"[\w./:-]{1,40}")


@dataclass(frozen=True)
class Change:
    """One change: where, and the line before and after.

    `function` is the outermost one, by qualified name and first line, as its code has them.
    """

    path: str
    line: int
    function: tuple[str, int]
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """What tells the change from others, whichever line it is on by now."""
        return f"{self.path} {self.function[0]}: {self.before} -> {self.after}"


def changes(path: str, source: str) -> list[Change]:
    """Every change to a module, in the order of its lines."""
    lines = source.encode().splitlines(keepends=True)
    found: dict[str, Change] = {}
    for name, function in _functions(ast.parse(source), ""):
        first = min([function.lineno, *(one.lineno for one in function.decorator_list)])
        for node, text in _edits(function):
            change = _change(path, lines, (name, first), node, text)
            if _compiles(change.source):
                found.setdefault(change.source, change)
    return sorted(found.values(), key=lambda change: change.line)


def _functions(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Function]]:
    for node in tree.body:
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


def _change(
    path: str, lines: list[bytes], function: tuple[str, int], node: ast.expr | ast.stmt, text: str
) -> Change:
    start, end = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    head = lines[start][: node.col_offset]
    tail = lines[end][node.end_col_offset :]
    after = head + text.encode() + tail
    # The other lines of what was replaced stay, empty, so that no line changes its number.
    new = [*lines[:start], after, *([b"\n"] * (end - start)), *lines[end + 1 :]]
    before = b" ".join(line.strip() for line in lines[start : end + 1])
    return Change(
        path,
        node.lineno,
        function,
        before.decode(),
        after.decode().strip(),
        b"".join(new).decode(),
    )


def _compiles(source: str) -> bool:
    try:
        compile(source, "changed", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _edits(function: Function) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """What to put in place of which node of a function."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    for statement in body:
        for node in _walk(statement):
            if isinstance(node, ast.stmt):
                yield from _of_statement(node)
            elif isinstance(node, ast.expr):
                yield from _of_expression(node)
            elif isinstance(node, ast.comprehension):
                yield from ((test, "True") for test in node.ifs)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Assert | ast.JoinedStr) or _is_logging(node):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "args") and not isinstance(
            node, ast.Call
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield from _walk(child)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_logging(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("logger.")


def _of_statement(node: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Leave a statement out; give nothing back; take or skip a branch always."""
    match node:
        case ast.Return(value=None | ast.Constant(value=None)):
            yield node, "pass"
        case ast.Return(value=ast.Constant(value=bool())):
            pass
        case ast.Return():
            yield node, "return None"
        case (
            ast.Assign()
            | ast.AugAssign()
            | ast.Expr()
            | ast.Raise()
            | ast.Delete()
            | ast.Break()
            | ast.Continue()
        ):
            yield node, "pass"
        case ast.AnnAssign(value=ast.expr()):
            yield node, "pass"
        case ast.If():
            yield node.test, "True"
            yield node.test, "False"
        case ast.While():
            yield node.test, "False"


def _of_expression(node: ast.expr) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    match node:
        case ast.IfExp():
            yield node, f"({ast.unparse(node.body)})"
            yield node, f"({ast.unparse(node.orelse)})"
        case ast.BoolOp():
            for i in range(len(node.values)):
                rest = [value for j, value in enumerate(node.values) if i != j]
                kept = ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
                yield node, f"({ast.unparse(kept)})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"bool({ast.unparse(node.operand)})"
        case ast.Compare(ops=[operator]):
            left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
            yield node, f"({left} {COMPARISONS[type(operator)]} {right})"
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            left, right = ast.unparse(node.left), ast.unparse(node.right)
            yield node, f"({left} {ARITHMETIC[type(node.op)]} {right})"
        case ast.Constant(value=bool()):
            yield node, str(not node.value)
        case ast.Constant(value=int() | float()):
            yield node, str(node.value + 1)
        case ast.Constant(value=str()) if WORD.fullmatch(node.value):
            yield node, repr(node.value + "_")
        case ast.Name() if node.id in NAMES and isinstance(node.ctx, ast.Load):
            yield node, NAMES[node.id]
