"""Loops of a shell script: over words, over the lines that `read` is given, and while a test is true.

A script is read as its first launch, without arguments: `while [ $# -gt 0 ]` is over before it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tree_sitter import Node

from stages.audit.shell import conditions
from stages.audit.shell.branches import TESTS, Branches
from stages.audit.shell.expansion import source
from stages.audit.shell.variables import Variables
from stages.audit.shell.words import Piece, Word, rows, text

MAX_LOOP = 256  # times that a loop is read
_READ = re.compile(r"(?:IFS=\S*\s+)?read(?:\s+-r)?\s+([A-Za-z_]\w*)")


class Loops(Branches):
    """Statements that are read again and again; `continue` and `break` end the reading of a body."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self.broken: str = ""  # the word by which the body that is read ended: continue or break

    @contextmanager
    def once(self) -> Iterator[None]:
        """One reading of a body; what `continue` and `break` end is no more than this."""
        self.broken = ""
        yield
        if self.broken or self.returned is None:
            self.returned = False

    def leave(self, word: str) -> None:
        """`continue` or `break`: the rest of the body is not read."""
        self.returned, self.broken = True, word

    def for_loop(self, node: Node, depth: int) -> None:
        """`for NAME in words`."""
        name, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        if name is not None and body is not None:
            nodes = [one for one in node.named_children if one not in (name, body)]
            self.each(name, body, self.expanded(nodes, depth), depth)

    def each(self, name: Node | str, body: Node, words: list[Word], depth: int) -> None:
        """The body once for each word, which is the value of a name."""
        called = name if isinstance(name, str) else source(name)
        for word in words[:MAX_LOOP]:
            self.variables.give(called, word, self.where(body))
            with self.once():
                self.statements(body, depth)
            if self.returned or self.broken == "break":
                return

    def while_loop(self, node: Node, depth: int) -> None:
        """`while test`: as often as the test is true; where the text does not decide it, both ways."""
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        decides = condition is not None and condition.type in TESTS and source(node).startswith("while")
        for _ in range(MAX_LOOP if decides else 0):
            taken = None if condition is None else conditions.decide(condition, self.tested)
            if body is None or taken is None:
                break
            if not taken:
                return
            with self.once():
                self.statements(body, depth)
            if self.returned or self.broken == "break":
                return
        with self.once():
            self.either_way([node.named_children, []], depth)

    def redirected(self, node: Node, depth: int) -> None:
        """`while read NAME; do ...; done <<EOF`: the body once for each line; of others, as any command."""
        loop = node.child_by_field_name("body")
        condition = None if loop is None else loop.child_by_field_name("condition")
        body = None if loop is None else loop.child_by_field_name("body")
        match = None if condition is None else _READ.fullmatch(source(condition))
        fed = self.fed(node, depth) if match is not None else None
        if match is None or body is None or fed is None:
            super().redirected(node, depth)
            return
        lines = [line for line in rows(fed) if text(line)]
        self.each(match[1], body, [_stripped(line) for line in lines], depth)


def _stripped(line: Word) -> Word:
    """A line as `read` gives it: without blanks at its ends."""
    content = text(line)
    if content == content.strip():
        return line
    return (Piece(content.strip(), line[0].where),)
