"""Reading Python modules as text: docstrings, signatures, first sentences. The same on every Python version.

`ast` gives places and raw strings; nothing is unparsed and `inspect` is not used, since both change with versions.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s+(?=[A-Z`\"'(])|$)", re.DOTALL)


@dataclass(frozen=True)
class Docstring:
    """A docstring, cleaned of its indentation. `signature` is the source up to the colon; empty for a module."""

    name: str
    signature: str
    text: str
    function: bool


def docstrings(source: str) -> Iterator[Docstring]:
    """Docstrings of a module, its classes and functions, in the order of the source; none if it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the packages' own code
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return
    lines = source.split("\n")
    yield from _walk(tree, "", lines)


def first_sentences(text: str, limit: int) -> str:
    """The first sentence of the first paragraph and those after it that fit in `limit` characters; may be empty."""
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    out = ""
    for match in _SENTENCE.finditer(paragraph):
        longer = f"{out} {match.group(1)}".strip()
        if len(longer) > limit:
            break
        out = longer
    return out


def clean(text: str) -> str:
    """PEP 257's trimming: the first line stripped, the common indentation of the others removed."""
    lines = text.expandtabs().split("\n")
    indents = [len(line) - len(line.lstrip(" ")) for line in lines[1:] if line.strip()]
    margin = min(indents, default=0)
    rest = [line[margin:].rstrip() for line in lines[1:]]
    return "\n".join([lines[0].strip(), *rest]).strip("\n")


def _walk(node: _Node, prefix: str, lines: list[str]) -> Iterator[Docstring]:
    if isinstance(node, ast.Module):
        name, signature = "", ""
    else:
        name = f"{prefix}{node.name}"
        signature = _signature(node, lines)
    text = _docstring(node)
    if text:
        yield Docstring(name, signature, text, isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child, f"{name}." if name else "", lines)


def _docstring(node: _Node) -> str:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return clean(first.value.value)
    return ""


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    head = lines[node.lineno - 1 : node.body[0].lineno]
    text = " ".join(" ".join(head).split())
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == ":" and depth == 0:
            return text[: place + 1]
    return text
