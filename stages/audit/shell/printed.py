"""What a script's own functions, `echo`, `printf` and `cat <<EOF` print where a command takes their output: `$(args)`.

Nothing is run: the body of the function is read as any other part of the script, and what its commands would print is
kept. Of a command that is not the script's own the output is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from stages.audit.shell.calls import Calls
from stages.audit.shell.expansion import source
from stages.audit.shell.variables import Variables, common
from stages.audit.shell.words import SUBSTITUTION, Piece, Word, text
from stages.errors import Where

_PRINTS = frozenset({"echo", "printf"})
_SILENT = frozenset({":", "true", "false", "local", "shift", "return", "source", ".", "set", "unset", "cd", "read",
                     "mapfile", "readarray", "test", "[", "[[", "mkdir", "export", "eval"})  # fmt: skip
_FORMAT = re.compile(r"%[sdbq%]|\\[nt]")


class Printed(Calls):
    """Words with the output of the script's own commands."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self.functions: dict[str, tuple[Node, str]] = {}
        self.printed: list[Piece] | None = None  # by the command whose output is taken, so far

    def statement(self, node: Node, depth: int) -> None:
        """Reads one statement of the script."""
        raise NotImplementedError

    def substituted(self, node: Node, depth: int) -> Iterator[Piece] | None:
        """`$(args 1)`, `$(echo ...)`, `$(cat <<EOF ...)`: the text; None for every other command."""
        only = node.named_children[0] if len(node.named_children) == 1 else None
        if only is not None and only.type == "redirected_statement" and len(only.named_children) == 2:
            command, redirect = only.named_children
            cat = source(command) == "cat" and redirect.type == "heredoc_redirect"
            return _without_end(self.heredoc(redirect, depth)) if cat else None
        name = only.child_by_field_name("name") if only is not None and only.type == "command" else None
        if only is None or name is None or (source(name) not in _PRINTS and source(name) not in self.functions):
            return None
        outer, before = self.variables, self.printed
        self.count(node, depth, len(outer.scalars) + len(outer.arrays))  # a subshell has a copy of each
        self.variables, self.printed = outer.fork(), []
        self.statement(only, depth + 1)
        found, self.variables, self.printed = self.printed, outer, before
        return _without_end(iter(found))

    def prints(self, words: list[Word], where: Where) -> None:
        """What a command prints; of one that is not read here, nobody knows it."""
        name = text(words[0])
        if self.printed is None or name in _SILENT or name in self.functions:
            return
        if name == "echo":
            options = [word for word in words[1:] if re.fullmatch(r"-[neE]+", text(word))]
            self.printed += _joined(words[1 + len(options) :], where)
        elif name == "printf" and len(words) > 1:
            self.printed += _formatted(words[1:], where)
        else:
            self.printed.append(Piece(SUBSTITUTION, where))

    def redirected(self, node: Node, depth: int) -> None:
        """A command with its redirections: a here-document that `cat` prints; what goes to a file is not printed."""
        before = None if self.printed is None else list(self.printed)
        for child in node.named_children:
            self.statement(child, depth + 1)
        self.read_here(node, depth)
        body = node.child_by_field_name("body")
        if body is not None and body.type == "command":
            self.filled(body, self.fed(node, depth))
        if before is None:
            return
        here = [one for one in node.named_children if one.type == "heredoc_redirect"]
        if any(one.type == "file_redirect" and ">" in source(one)[:3] for one in node.named_children):
            self.printed = before
        elif here and body is not None and source(body) == "cat":
            self.printed = [*before, *self.heredoc(here[0], depth)]

    def shared(self, ways: list[list[Piece]], where: Where) -> list[Piece]:
        """What all ways of a branch print; where some add words, an unknown one behind the others, as of variables."""
        if not any(ways):
            return []
        return list(common([tuple(way) for way in ways]) or (Piece(SUBSTITUTION, where),))


def _without_end(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """A text without the ends of lines after it."""
    found = list(pieces)
    while found and not found[-1].text.rstrip("\n"):
        found.pop()
    last = found.pop() if found else None
    yield from found
    if last is not None:
        yield Piece(last.text.rstrip("\n"), last.where)


def _joined(words: list[Word], where: Where) -> Iterator[Piece]:
    for number, word in enumerate(words):
        yield from [Piece(" ", where)] if number else []
        yield from word
    yield Piece("\n", where)


def _formatted(words: list[Word], where: Where) -> Iterator[Piece]:
    """`printf FORMAT words`: the format again and again until every word is used."""
    words = words[1:] if text(words[0]) == "--" else words
    form, rest = text(words[0]) if words else "%x", words[1:]
    parts = re.split(f"({_FORMAT.pattern})", form)
    holes = sum(part in {"%s", "%d", "%b", "%q"} for part in parts)
    if form.startswith("-v") or any(("%" in part or "\\" in part) and not _FORMAT.fullmatch(part) for part in parts):
        yield Piece(SUBSTITUTION, where)
        return
    for _ in range(-(-len(rest) // holes) or 1 if holes else 1):
        for part in parts:
            if part in {"%s", "%d", "%b", "%q"}:
                yield from rest[0] if rest else ()
                rest = rest[1:]
            else:
                yield Piece({"%%": "%", "\\n": "\n", "\\t": "\t"}.get(part, part), words[0][0].where)
