"""By which code a result was evaluated, as a digest. Code that gives the same numbers repeats no evaluation."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from stages.store.digest import digest_bytes

# In this package: what decides the numbers in eval.json.
SOURCES = ("evals/*.py", "contract/evaluated_rows.py")

# Digests of code that computes the same numbers, the oldest first, the last being that of this code. Who edits SOURCES
# adds the new one; where a number comes out otherwise than before, it stands alone: then all are evaluated again.
# Three exceptions, of which a result keeps the numbers that it has. Two were before c2e5ee6a: the needle's answer was
# read behind rows that are too short for fact and question (a quarter of a context of 64, which no shipped stage is
# asked about), and what the NeMo engine trained was evaluated in the torch engine's modules, which differs by rounding.
# And the loss of whole logits was taken otherwise before 84aa544c, which differs by rounding.
SAME = (
    "f197bc12f5ebff97",
    "37345590706ebd46",
    "300548678276cbd1",
    "e2e4f8e5344352e1",
    "a8bc6ed215a2e605",
    "90cc60999e5a8ad8",
    "b0ff6e6c328cfee4",
    "c2e5ee6ad777b6e7",
    "d52f71acae6eb020",
    "75f20277639e1037",
    "84aa544cf52abf53",
    "2260952ed3bd55ec",
    "31ad8b29f4ccefaf",
    "d1b92e34c177beef",
    "f20b58a4bd9d8d4d",
)


@cache
def code() -> str:
    """What `called` says of this code."""
    return called(digest())


def called(digest: str) -> str:
    """The digest by which code is compared: that of the oldest code which computes the same numbers."""
    return SAME[0] if digest in SAME else digest


@cache
def digest() -> str:
    """A digest of the code of evaluations, without its comments, docstrings, imports and blank lines."""
    package = Path(__file__).resolve().parents[1]
    paths = sorted(path for pattern in SOURCES for path in package.glob(pattern))
    return digest_bytes("\n".join(bare(path.read_text(encoding="utf-8")) for path in paths).encode())[:16]


def bare(source: str) -> str:
    """Python without comments, docstrings, imports (from where a name comes changes no number) and blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for first, last in _no_code(ast.parse(source)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _no_code(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """First and last line of each, counted from 1."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            yield first.lineno, first.end_lineno or first.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node.lineno, node.end_lineno or node.lineno
