"""Calls of a script's functions: their parameters and local names; texts that commands take from the script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tree_sitter import Node

from stages.audit.shell.expansion import Words, source
from stages.audit.shell.variables import Variables
from stages.audit.shell.words import Piece, Word, fields, rows, text
from stages.errors import Where

_FILLS = re.compile(r"(?:(?:mapfile|readarray)\s+-t|((?:IFS=(?:' '|\" \")\s+)?read\s+(?:-r\s+)?-r?a))\s+([A-Za-z_]\w*)")
_EXPANDED = frozenset({"simple_expansion", "expansion", "command_substitution", "arithmetic_expansion"})


@dataclass
class Frame:
    """A call that is being read: the parameters of the caller, and what local names stand for outside."""

    parameters: list[Word]
    outside: dict[str, tuple[Word | None, list[Word] | None]] = field(default_factory=dict)

    def keep(self, name: str, variables: Variables) -> None:
        """What a name stands for outside, before the function has one of its own."""
        array = variables.arrays.get(name)
        self.outside.setdefault(name, (variables.scalars.get(name), None if array is None else list(array)))


class Calls(Words):
    """Words with parameters: `$1`, `"$@"`, `$#`."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self.frames: list[Frame] = []

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
        """Set `$1`, `$2`, ..., `$@` and `$#`; outside of a function nobody knows them, but after `set -- words`."""
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
        """`shift`, `shift N`: without the first parameters. By a number that nobody knows, all are unknown."""
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
        """What stands behind `< <(f)`, `<<<` or `<<EOF`, where the text itself says it."""
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
