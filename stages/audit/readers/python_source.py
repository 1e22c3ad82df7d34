"""Python as text: the calls of a configuration and their arguments, worked out from the syntax tree; nothing is run.

What is worked out: constants, names assigned once, arithmetic on small numbers, int, float, round, min, max, and
`x or default` where x is an option of the command line. Everything else is unknown, with the reason.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stages.audit.readers.text import refuse
from stages.audit.recipe import Read, Scalar, Value, is_number
from stages.errors import Where
from stages.printable import printable

MAX_CHARACTERS = 200_000  # several times the longest published script
MAX_NODES = 30_000  # a registry of forty configurations has 6,000
MAX_DEPTH = 30
LARGEST = 10**18  # of a number: above every count of tokens; the power of two numbers stays small
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., float]] = {"int": int, "float": float, "round": round, "min": min, "max": max}


class _Unknown(Exception):  # noqa: N818 - it carries a reason, and never leaves this module
    pass


@dataclass(frozen=True)
class Call:
    """A call with its dotted name (`TransformerConfig.olmo3_7B`) and the function that it is in."""

    name: str
    node: ast.Call
    inside: str
    where: Where

    def argument(self, keyword: str) -> ast.expr | None:
        """What the call gives for a keyword."""
        return {one.arg: one.value for one in self.node.keywords}.get(keyword)


@dataclass
class Source:
    """A module: its functions, its calls, and what each name is where it is assigned once."""

    file: str
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    changed: dict[str, int] = field(default_factory=dict)  # attributes that are assigned to later, with their line
    names: dict[tuple[str, str], ast.expr | None] = field(default_factory=dict)  # (function, name); None: several
    options: set[tuple[str, str]] = field(default_factory=set)  # parameters of functions

    def named(self, *names: str) -> list[Call]:
        """The calls with one of these names, in the order of the text."""
        return [one for one in self.calls if one.name in names]

    def call(self, node: ast.expr) -> Call | None:
        """The call that an expression is, if it is one."""
        return next((one for one in self.calls if one.node is node), None)

    def value(self, node: ast.expr, inside: str, key: str) -> Value:
        """What an expression is, at the line that a figure is written in; unknown with the reason."""
        where = Where(self.file, self.written(node, inside).lineno)
        try:
            return Value(self._read(node, inside, 0), where, key)
        except _Unknown as reason:
            return Value(None, where, key, str(reason))

    def written(self, node: ast.expr, inside: str) -> ast.expr:
        """The expression that a name stands for, where it is assigned once; any other expression itself."""
        if isinstance(node, ast.Name):
            return self._lookup(node.id, inside) or node
        return node

    def _lookup(self, name: str, inside: str) -> ast.expr | None:
        return self.names.get((inside, name)) if (inside, name) in self.names else self.names.get(("", name))

    def _read(self, node: ast.expr, inside: str, depth: int) -> Read:
        if depth > MAX_DEPTH:
            raise _Unknown("an expression too deep to follow")
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return printable(value) if isinstance(value, str) else _small(value)
            case ast.Constant(value=None):
                return None
            case ast.Name(id=name):
                found = self._lookup(name, inside)
                if found is None:
                    raise _Unknown(f"{printable(name)} is not assigned once in this file")
                return self._read(found, inside, depth + 1)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand, inside, depth)
            case ast.BinOp(left=left, op=op, right=right):
                return _applied(op, self._number(left, inside, depth), self._number(right, inside, depth))
            case ast.BoolOp(op=ast.Or(), values=[first, last]) if self._option(first, inside):
                return self._read(last, inside, depth + 1)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                read = [self._read(item, inside, depth + 1) for item in items]
                return tuple(one for one in read if one is not None and not isinstance(one, tuple))
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS and 0 < len(arguments) <= 3:
                return _called(name, [self._number(one, inside, depth) for one in arguments])
            case ast.Attribute(value=ast.Name(id=name)) if (inside, name) in self.options:
                raise _Unknown(f"an option of the command line, {printable(ast.unparse(node))}")
            case _:
                raise _Unknown(f"made by code: {printable(ast.unparse(node)[:60])}")

    def _number(self, node: ast.expr, inside: str, depth: int) -> int | float:
        value = self._read(node, inside, depth + 1)
        if not is_number(value):
            raise _Unknown(f"no number: {printable(ast.unparse(node)[:60])}")
        return value

    def _option(self, node: ast.expr, inside: str) -> bool:
        return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (
            inside, node.value.id) in self.options  # fmt: skip


def _small(value: Scalar) -> Scalar:
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= LARGEST):
        raise _Unknown("a number out of range")
    return value


def _applied(op: ast.operator, left: float, right: float) -> int | float:
    try:
        if isinstance(op, ast.Pow):
            if not (abs(left) <= 10**6 and abs(right) <= 64):
                raise _Unknown("a power out of range")
            value: Scalar = _small(left**right)
        elif type(op) in _OPERATORS:
            value = _small(_OPERATORS[type(op)](left, right))
        else:
            raise _Unknown("an operator that is not followed")
    except (ArithmeticError, TypeError) as error:
        raise _Unknown(f"no number: {type(error).__name__}") from None
    assert not isinstance(value, str)
    return value


def _called(name: str, numbers: list[int | float]) -> int | float:
    try:
        value = _small(_FUNCTIONS[name](*numbers))
    except (ArithmeticError, TypeError, ValueError) as error:
        raise _Unknown(f"no number: {type(error).__name__}") from None
    assert not isinstance(value, str)
    return value


def parse(text: str, file: str) -> Source:
    """The syntax tree of a file of Python 3, bounded in size. Raises Unreadable."""
    if len(text) > MAX_CHARACTERS:
        raise refuse(Where(file, 1), f"{len(text):,} characters", f"at most {MAX_CHARACTERS:,}", "Give the recipe.")
    try:
        module = ast.parse(text)
        nodes = sum(1 for _ in ast.walk(module))
    except SyntaxError as error:
        where = Where(file, error.lineno or 1)
        raise refuse(where, f"what is not Python 3 ({error.msg})", "Python", "Correct the syntax.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise refuse(Where(file, 1), type(error).__name__, "Python of a usual depth", "Flatten it.") from None
    if nodes > MAX_NODES:
        raise refuse(Where(file, 1), f"{nodes:,} syntax nodes", f"at most {MAX_NODES:,}", "Give the recipe alone.")
    source = Source(file)
    _collect(source, module.body, "")
    for function in (one for one in module.body if isinstance(one, ast.FunctionDef)):
        source.functions[function.name] = function
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        source.options |= {(function.name, one.arg) for one in arguments}
        _collect(source, function.body, function.name)
    source.calls.sort(key=lambda one: (one.node.lineno, one.node.col_offset))
    return source


def _collect(source: Source, body: list[ast.stmt], inside: str) -> None:
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            _collect(source, statement.body, inside)
            continue
        for node in ast.walk(statement):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    again = (inside, name) in source.names or node is not statement
                    source.names[inside, name] = None if again else value
                case ast.AugAssign(target=ast.Name(id=name)):
                    source.names[inside, name] = None
                case (
                    ast.Assign(targets=[ast.Attribute(attr=attribute)])
                    | ast.AugAssign(target=ast.Attribute(attr=attribute))
                ):
                    source.changed.setdefault(attribute, node.lineno)
                case ast.Call(func=function):
                    if name := _dotted(function):
                        source.calls.append(Call(name, node, inside, Where(source.file, node.lineno)))
                case _:
                    pass


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def assignments(function: ast.FunctionDef) -> Iterator[tuple[tuple[str, ...], ast.expr | None, int]]:
    """What a function assigns to attributes of its variables: path from the variable on, expression, line. The
    expression is None where it is assigned under a condition, or changed in place."""
    for statement in function.body:
        for node in ast.walk(statement):
            match node:
                case ast.Assign(targets=[ast.Attribute() as target], value=value):
                    yield tuple(_dotted(target).split(".")), value if node is statement else None, node.lineno
                case ast.AugAssign(target=ast.Attribute() as target):
                    yield tuple(_dotted(target).split(".")), None, node.lineno
                case _:
                    pass
