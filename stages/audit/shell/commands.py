"""Commands of a script: parameters and local names of its functions, the texts that commands take, and what they print.

Nothing is run: the body of a function is read as any other part of the script, and what `echo` and functions of it
would print is kept where a command takes it: `$(args)`. Of other commands the output is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tree_sitter import Node

from stages.audit.shell.expansion import Words, source
from stages.audit.shell.variables import Variables, common
from stages.audit.shell.words import SUBSTITUTION, Piece, Word, text
from stages.errors import Where

PRINTS = frozenset({"echo", "printf"})
_SILENT = frozenset({":", "true", "false", "local", "shift", "return", "source", ".", "set", "unset", "cd", "read",
                     "mapfile", "readarray", "test", "[", "[[", "mkdir", "export", "eval"})  # fmt: skip


@dataclass
class Frame:
    """A call that is being read: the parameters of the caller, and what local names stand for outside."""

    parameters: list[Word]
    outside: dict[str, tuple[Word | None, list[Word] | None]] = field(default_factory=dict)

    def keep(self, name: str, variables: Variables) -> None:
        """What a name stands for outside, before the function has one of its own."""
        array = variables.arrays.get(name)
        self.outside.setdefault(name, (variables.scalars.get(name), None if array is None else list(array)))


class Commands(Words):
    """Words with parameters (`$1`, `"$@"`, `$#`), and with the output of the script's own commands."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self.frames: list[Frame] = []
        self.functions: dict[str, tuple[Node, str]] = {}
        self.printed: list[Piece] | None = None  # by the command whose output is taken, so far

    def statement(self, node: Node, depth: int) -> None:
        """Reads one statement of the script."""
        raise NotImplementedError

    @contextmanager
    def called(self, words: list[Word], where: Where) -> Iterator[None]:
        """The parameters are these words, and local names end with the body."""
        known = bool(self.frames) or "@" in self.variables.arrays
        self.frames.append(Frame(self.variables.elements("@")))
        self.parameters(words, where)
        yield
        frame = self.frames.pop()
        self.parameters(frame.parameters, where, known)
        for name, (scalar, array) in frame.outside.items():
            self.variables.drop(name)
            if scalar is not None:
                self.variables.scalars[name] = scalar
            if array is not None:
                self.variables.arrays[name] = array

    def parameters(self, words: list[Word], where: Where, known: bool = False) -> None:
        """Set `$1`, `$2`, ..., `$@` and `$#`; outside of a function they are unknown, but after `set -- words`."""
        variables = self.variables
        for name in [one for one in variables.scalars if one.isdigit() or one == "#"]:
            variables.drop(name)
        variables.drop("@")
        if not self.frames and not known:
            return
        variables.arrays["@"] = words
        variables.scalars |= {"#": (Piece(str(len(words)), where),)}
        variables.scalars |= {str(number + 1): word for number, word in enumerate(words)}

    def shift(self, words: list[Word], where: Where) -> None:
        """`shift`, `shift N`: without the first parameters. By an unknown number, all are unknown."""
        count = text(words[0]) if words else "1"
        known = count.isdigit() and "@" in self.variables.arrays
        if known and int(count) <= len(self.variables.arrays["@"]):
            self.parameters(self.variables.arrays["@"][int(count) :], where, known=True)

    def local(self, node: Node) -> None:
        """`local NAME`, `declare NAME=value` in a function: what the name stands for outside comes back."""
        if not self.frames or node.children[0].type not in {"local", "declare", "typeset"}:
            return
        for child in node.named_children:
            name = child.child_by_field_name("name") if child.type == "variable_assignment" else child
            if name is not None and name.type == "variable_name":
                self.frames[-1].keep(source(name), self.variables)

    def substituted(self, node: Node, depth: int) -> Iterator[Piece] | None:
        """`$(args 1)`, `$(echo ...)`: the text; None for every other command."""
        only = node.named_children[0] if len(node.named_children) == 1 else None
        name = only.child_by_field_name("name") if only is not None and only.type == "command" else None
        if only is None or name is None or (source(name) != "echo" and source(name) not in self.functions):
            return None
        outer, before = self.variables, self.printed
        self.count(node, depth, len(outer.scalars) + len(outer.arrays))  # a subshell has a copy of each
        self.variables, self.printed = outer.fork(), []
        self.statement(only, depth + 1)
        found, self.variables, self.printed = self.printed, outer, before
        return _without_end(iter(found))

    def prints(self, words: list[Word], where: Where) -> None:
        """What a command prints; of one that is not read here, it is unknown."""
        name = text(words[0])
        if self.printed is None or name in _SILENT or name in self.functions:
            return
        if name == "echo":
            options = [word for word in words[1:] if re.fullmatch(r"-[neE]+", text(word))]
            self.printed += _joined(words[1 + len(options) :], where)
        else:
            self.printed.append(Piece(SUBSTITUTION, where))

    def redirected(self, node: Node, depth: int) -> None:
        """A command with its redirections: what goes to a file is not printed."""
        before = None if self.printed is None else list(self.printed)
        for child in node.named_children:
            self.statement(child, depth + 1)
        if any(one.type == "file_redirect" and ">" in source(one)[:3] for one in node.named_children):
            self.printed = before

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
