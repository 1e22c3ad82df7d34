"""Words of a shell script with the place of every piece of them, and arithmetic; nothing is run.

A value that only running could tell stays in the word as `${NAME}` or `$(...)`: it is unknown, and two unknown values
of the same name are equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tree_sitter import Node

from stages.audit.recipe import HOLE
from stages.errors import Where

_ESCAPED = re.compile(r"\\([\"$`\\])")  # in double quotes
SUBSTITUTION = "$(...)"
ADDED = "${?"  # begins what some ways of a branch add, and others do not: `${?--log-interval,1}`
DEEPEST = 60  # of nested expressions and commands: no script nests deeper
LARGEST = 2**80  # of arithmetic: no figure of a recipe is larger


@dataclass(frozen=True)
class Piece:
    """A part of a word, and where it was written. `split`: unquoted, so that blanks in it end the word."""

    text: str
    where: Where
    split: bool = False


Word = tuple[Piece, ...]


def text(word: Word) -> str:
    """A word's text, unknown parts as `${NAME}`."""
    return "".join(piece.text for piece in word)


def unknown(content: str) -> str | None:
    """What keeps a text from being known, or None."""
    found = HOLE.search(content)
    if found is None:
        return None
    if found[0].startswith(ADDED):
        return "some ways of a branch say more"
    return "the output of a command" if found[0] == SUBSTITUTION else f"{found[0]} is not set in what was published"


def added(texts: Iterable[str], where: Where) -> Piece:
    """What some ways of a branch add to a text, as one unknown word that shows it."""
    shown = (re.sub(r"[\s{}$]+", ",", one.strip()) for one in texts)
    return Piece(ADDED + ",".join(one for one in shown if one) + "}", where, True)


def place(word: Word, otherwise: Where) -> Where:
    """Where a word was written: the place of its last part that is not blank, `stable` of `$ROOT/stable`."""
    return next((piece.where for piece in reversed(word) if piece.text.strip()), otherwise)


def fields(pieces: Iterable[Piece], everywhere: bool = False) -> list[Word]:
    """Pieces cut into words at the blanks of unquoted expansions, as a shell does; `everywhere`: at every blank."""
    words: list[Word] = []
    word: list[Piece] = []
    for piece in pieces:
        if not (piece.split or everywhere):
            word.append(piece)
            continue
        for number, part in enumerate(re.split(r"\s+", piece.text)):
            if number and word:
                words.append(tuple(word))
                word = []
            if part:
                word.append(Piece(part, piece.where))
    if word:
        words.append(tuple(word))
    return words


def lines(content: str, file: str, line: int, raw: bool = False) -> Iterator[Piece]:
    """A text of several lines as pieces, each with its line; if not `raw`, with what a backslash says there."""
    for number, part in enumerate(content.splitlines(keepends=True)):
        text = part.replace("\\\n", " ") if raw else _ESCAPED.sub(r"\1", part.replace("\\\n", ""))
        yield Piece(text, Where(file, line + number))


def arithmetic(node: Node, variable: Callable[[str], str | None], depth: int = 0) -> int | None:
    """The value of an arithmetic expression over known integers, None for anything else."""
    if depth > DEEPEST:
        return None
    content = (node.text or b"").decode()
    match node.type:
        case "number" | "word":
            return int(content) if content.isascii() and content.isdigit() and len(content) < 30 else None
        case "variable_name" | "simple_expansion" | "expansion":
            found = variable(content.strip("${}"))
            return int(found) if found is not None and re.fullmatch(r"-?\d{1,30}", found.strip()) else None
        case "parenthesized_expression" | "arithmetic_expansion" | "unary_expression" if len(node.named_children) == 1:
            inner = arithmetic(node.named_children[0], variable, depth + 1)
            return -inner if inner is not None and content.startswith("-") else inner
        case "binary_expression" if len(node.children) == 3:
            left = arithmetic(node.children[0], variable, depth + 1)
            return _combined(left, node.children[1].type, arithmetic(node.children[2], variable, depth + 1))
        case _:
            return None


def _combined(left: int | None, operator: str, right: int | None) -> int | None:
    if left is None or right is None:
        return None
    if operator in {"/", "%"}:
        if right == 0:
            return None
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)  # the shell truncates
        return quotient if operator == "/" else left - quotient * right
    if operator == "**":
        value = left**right if 0 <= right <= 80 and abs(left) <= 1024 else None
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}.get(operator)
    return value if value is not None and abs(value) < LARGEST else None
