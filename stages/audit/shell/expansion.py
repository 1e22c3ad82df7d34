"""What the words of a shell script stand for: quotes, expansions of variables, arithmetic; nothing is run.

Arrays are read as a whole: of one element (`${L[1]}`, `${SIZE[tp]}`) the value is unknown, and so is the array that an
assignment to one leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from stages.audit.readers import text as files
from stages.audit.shell.variables import Variables
from stages.audit.shell.words import DEEPEST, SUBSTITUTION, Piece, Word, arithmetic, fields, lines, text
from stages.errors import Where

MAX_NODES = 50_000  # of all that one script leads to: loops, sourced files and what variables stand for included
_EVERY = re.compile(r"\"\$(@|\{@\}|\{\w+\[@\]\})\"")


class Words:
    """Expands the nodes of words by the variables as they are at that place of the script."""

    def __init__(self, variables: Variables) -> None:
        self.variables, self.nodes, self.name = variables, 0, ""

    def where(self, node: Node) -> Where:
        """The file and line of a node."""
        return Where(self.name, node.start_point[0] + 1)

    def count(self, node: Node, depth: int, more: int = 1) -> None:
        """Raises Unreadable once a script leads to more than any script needs."""
        self.nodes += more
        if depth > DEEPEST or self.nodes > MAX_NODES:
            raise files.refuse(self.where(node), "a script too deep or long to read", "a recipe", "Flatten it.")

    def expanded(self, nodes: list[Node], depth: int) -> list[Word]:
        """The words that these nodes stand for."""
        words: list[Word] = []
        for node in nodes:
            if node.type in {"comment", "herestring_redirect", "file_redirect", "heredoc_redirect"}:
                continue
            found = fields(self.pieces(node, depth, quoted=False))
            none = _EVERY.fullmatch(source(node))  # of no elements it is no word
            empty = node.type in {"string", "raw_string"} and not none
            words += found or ([(Piece("", self.where(node)),)] if empty else [])
        return words

    def pieces(self, node: Node, depth: int, quoted: bool) -> Iterator[Piece]:
        """What a node of a word stands for."""
        self.count(node, depth)
        where, content = self.where(node), source(node)
        match node.type:
            case "raw_string":
                yield from lines(content[1:-1], self.name, where.line, raw=True)
            case "string":
                yield from self.string(node, depth)
            case "concatenation" | "command_name":
                for child in node.named_children:
                    yield from self.pieces(child, depth + 1, quoted)
            case "simple_expansion" | "expansion":
                blank, _, name = content.partition("$")  # blanks before it are the grammar's, and belong to the string
                yield from lines(blank, self.name, where.line)
                every = name in {"@", "*"} and self.variables.known("@")
                short = self.every("@", where, quoted) if every else self.variables.pieces(name, where, quoted)
                for piece in self.expansion(node, depth, quoted) if node.type == "expansion" else short:
                    self.count(node, depth, 1 + len(piece.text) // 64)
                    yield piece
            case "arithmetic_expansion":
                result = arithmetic(node, self.value)
                yield Piece(SUBSTITUTION if result is None else str(result), where)
            case "command_substitution" if (found := self.substituted(node, depth)) is not None:
                for piece in found:
                    yield Piece(piece.text, piece.where, not quoted)
            case "command_substitution" | "process_substitution":
                yield Piece(SUBSTITUTION, where)
            case _:
                yield Piece(re.sub(r"\\(.)", r"\1", content.replace("\\\n", "")), where)

    def value(self, name: str) -> str | None:
        """A variable's text, None where the script has not set it."""
        return text(self.variables.scalars[name]) if name in self.variables.scalars else None

    def string(self, node: Node, depth: int) -> Iterator[Piece]:
        """A quoted string: its parts, and the text between them."""
        data, at = node.text or b"", node.start_byte + 1
        for child in node.named_children:
            yield from lines(_between(data, node, at, child.start_byte), self.name, _line(data, node, at))
            if child.type == "string_content":
                yield from lines(source(child), self.name, self.where(child).line)
            else:
                yield from self.pieces(child, depth + 1, quoted=True)
            at = child.end_byte
        yield from lines(_between(data, node, at, node.end_byte - 1), self.name, _line(data, node, at))

    def expansion(self, node: Node, depth: int, quoted: bool) -> Iterator[Piece]:
        """`${NAME}`, `${NAME[@]}`, `${NAME:-default}`; of every other form the value is unknown."""
        children = node.named_children
        first = children[0] if children else None
        where = self.where(node if first is None else first)
        kinds = [one.type for one in node.children]
        if first is not None and first.type == "subscript" and source(first)[-3:] in {"[@]", "[*]"}:
            name = source(first.named_children[0])
            if kinds == ["${", "#", "subscript", "}"] and self.variables.known(name):
                yield Piece(str(len(self.variables.elements(name))), where)
            elif kinds[1] == "subscript" and kinds[2] in {"}", "+", ":+"}:
                as_one = kinds[2] != "}" and children[1].type == "string"  # ${NAME[@]+"${NAME[@]}"}
                yield from self.every(name, where, quoted or as_one)
            else:  # a part of it, or each element changed
                self.variables.elements(name)
                yield Piece("${" + content_name(node) + "}", where)
            return
        operator = next((one for one in kinds if one in {":-", "-", ":=", "=", ":?", "?"}), None)
        whole = first is not None and (len(children) == 1 or operator is not None) and kinds[1:2] != ["#"]
        if first is None or not whole or first.type != "variable_name":
            if first is not None and first.type == "subscript":
                self.variables.elements(source(first.named_children[0]))
            yield Piece("${" + content_name(node) + "}", where)
            return
        named = source(first)
        if operator is not None and not self.variables.known(named):
            if operator in {":?", "?"}:  # the launch stops unless the environment sets it
                yield Piece("${" + named + "}", where)
                return
            word = [piece for child in children[1:] for piece in self.pieces(child, depth + 1, quoted)]
            if operator in {":=", "="}:
                self.variables.give(named, tuple(word) or (Piece("", where),), where)
            yield from word
        else:
            yield from self.variables.pieces(named, where, quoted)

    def every(self, name: str, where: Where, quoted: bool) -> Iterator[Piece]:
        """`${NAME[@]}`, `$@`: every element a word of its own."""
        if not self.variables.known(name):
            yield from self.variables.pieces(name, where, quoted)
        for number, word in enumerate(self.variables.elements(name)):
            yield from [Piece(" ", where, split=True)] if number else []
            yield from (word if quoted else (Piece(one.text, one.where, True) for one in word))

    def substituted(self, node: Node, depth: int) -> Iterator[Piece] | None:
        """What a command prints, where the text itself says it; None where it does not."""
        raise NotImplementedError

    def exported(self, node: Node) -> None:
        """What is exported is for other programs, so it is used."""
        names = (one.child_by_field_name("name") or one for one in node.named_children)
        self.variables.used |= {source(one) for one in names}


def source(node: Node) -> str:
    """The text of a node, as it is in the file."""
    return (node.text or b"").decode("utf-8", "replace")


def content_name(node: Node) -> str:
    """The text between the braces of an expansion, without braces of its own."""
    return source(node).strip()[2:-1].replace("{", "").replace("}", "")


def _between(data: bytes, node: Node, start: int, end: int) -> str:
    return data[start - node.start_byte : end - node.start_byte].decode("utf-8", "replace")


def _line(data: bytes, node: Node, at: int) -> int:
    return node.start_point[0] + 1 + data.count(b"\n", 0, at - node.start_byte)
