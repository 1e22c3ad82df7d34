"""Commands of a script: parameters and local names of its functions, the texts that commands take, and what they print.

Nothing is run: the body of a function is read as any other part of the script, and what `echo`, `printf`, `cat <<EOF`
and functions would print is kept where a command takes it: `$(args)`. Of other commands the output is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tree_sitter import Node

from stages.audit.shell.expansion import Words, source
from stages.audit.shell.variables import Variables, common
from stages.audit.shell.words import SUBSTITUTION, Piece, Word, fields, rows, text
from stages.errors import Where

_FILLS = re.compile(r"(?:(?:mapfile|readarray)\s+-t|((?:IFS=(?:' '|\" \")\s+)?read\s+(?:-r\s+)?-r?a))\s+([A-Za-z_]\w*)")
_EXPANDED = frozenset({"simple_expansion", "expansion", "command_substitution", "arithmetic_expansion"})
PRINTS = frozenset({"echo", "printf"})
_SILENT = frozenset({":", "true", "false", "local", "shift", "return", "source", ".", "set", "unset", "cd", "read",
                     "mapfile", "readarray", "test", "[", "[[", "mkdir", "export", "eval"})  # fmt: skip
_FORMAT = re.compile(r"%[sdbq%]|\\[nt]")


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

    def heredoc(self, node: Node, depth: int) -> Iterator[Piece]:
        """The text of a here-document; its variables too, unless the word that ends it is quoted."""
        parts = {one.type: one for one in node.named_children}
        start, end = parts.get("heredoc_start"), parts.get("heredoc_end")
        if start is None or end is None:
            return
        data = node.text or b""
        at = data.find(b"\n", start.end_byte - node.start_byte) + 1
        raw = source(start)[:1] in {"'", '"', "\\"}
        body = parts.get("heredoc_body")
        found = [] if raw or body is None else [one for one in body.named_children if one.type in _EXPANDED]
        for child in [*found, None]:
            stop = (end if child is None else child).start_byte - node.start_byte
            line = node.start_point[0] + 1 + data.count(b"\n", 0, at)
            for number, part in enumerate(data[at:stop].decode("utf-8", "replace").splitlines(keepends=True)):
                yield Piece(part if raw else part.replace("\\\n", ""), Where(self.name, line + number))
            if child is not None:
                yield from self.pieces(child, depth + 1, quoted=True)
                at = child.end_byte - node.start_byte

    def fed(self, node: Node, depth: int) -> list[Piece] | None:
        """What is behind `< <(f)`, `<<<` or `<<EOF`, where the text itself says it."""
        for one in node.named_children:
            target = one.named_children[-1] if one.named_children else None
            if one.type == "heredoc_redirect":
                return list(self.heredoc(one, depth))
            if one.type == "herestring_redirect" and target is not None:
                return list(self.pieces(target, depth + 1, quoted=True))
            if one.type == "file_redirect" and target is not None and target.type == "process_substitution":
                found = self.substituted(target, depth)
                return None if found is None else list(found)
        return None

    def filled(self, command: Node, pieces: list[Piece] | None) -> None:
        """`mapfile -t NAME`: a line an element; `read -ra NAME`: a word of the first line an element."""
        match = _FILLS.fullmatch(source(command).partition("<")[0].strip())
        if match is None or pieces is None:
            return
        words = rows(pieces) if match[1] is None else fields((rows(pieces) or [()])[0], everywhere=True)
        self.variables.give_array(match[2], words, self.where(command))

    def read_here(self, node: Node, depth: int) -> None:
        """`read -r -d '' NAME <<EOF`: the whole text, without blanks around it."""
        command = node.child_by_field_name("body")
        redirect = next((one for one in node.named_children if one.type == "heredoc_redirect"), None)
        match = None if command is None else re.fullmatch(r"(?:IFS=\S* )?read\s(.*?)\s*([A-Za-z_]\w*)", source(command))
        if redirect is None or match is None or not re.search(r"d\s*(''|\"\"|\$'\\0')", match[1]):
            return
        word = list(self.heredoc(redirect, depth))
        while word and not word[-1].text.strip():
            word.pop()
        self.variables.give(match[2], tuple(word) or (Piece("", self.where(node)),), self.where(node))

    def substituted(self, node: Node, depth: int) -> Iterator[Piece] | None:
        """`$(args 1)`, `$(echo ...)`, `$(cat <<EOF ...)`: the text; None for every other command."""
        only = node.named_children[0] if len(node.named_children) == 1 else None
        if only is not None and only.type == "redirected_statement" and len(only.named_children) == 2:
            command, redirect = only.named_children
            cat = source(command) == "cat" and redirect.type == "heredoc_redirect"
            return _without_end(self.heredoc(redirect, depth)) if cat else None
        name = only.child_by_field_name("name") if only is not None and only.type == "command" else None
        if only is None or name is None or (source(name) not in PRINTS and source(name) not in self.functions):
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
