"""Associative arrays of a shell script: `declare -A SIZE=([tp]=2)`, `SIZE[pp]=4`, `${SIZE[tp]}`.

An element is kept as a variable of the name `SIZE[tp]`. Of arrays by number, an element is read where its number is
written or known, and what an assignment to one leaves of the array is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node

from stages.audit.shell.expansion import Words, source
from stages.audit.shell.words import Piece, Word, text, unknown
from stages.errors import Where


class Maps(Words):
    """Words with elements of arrays."""

    def declared(self, node: Node) -> None:
        """`declare -A NAME`: its elements have names. What is exported is for other programs, so it is used."""
        if source(node).startswith("export"):
            names = (one.child_by_field_name("name") or one for one in node.named_children)
            self.variables.used |= {source(one) for one in names}
        if not any(one.type == "word" and re.fullmatch(r"-\w*A\w*", source(one)) for one in node.named_children):
            return
        for child in node.named_children:
            name = child.child_by_field_name("name") if child.type == "variable_assignment" else child
            if name is not None and name.type == "variable_name":
                self.variables.maps.add(source(name))

    def entries(self, name: str, nodes: list[Node], where: Where, depth: int) -> None:
        """NAME=([key]=value ...) of an associative array. What has another form is not known."""
        self.variables.assigned.setdefault(name, where)
        for node in nodes:
            parts = node.named_children
            end = next((n for n, one in enumerate(parts) if one.type == "word" and source(one) == "]"), None)
            if node.type != "concatenation" or end is None or source(parts[0]) != "[" or len(parts) < end + 2:
                continue
            key = self.joined_text(parts[1:end], depth)
            head = source(parts[end + 1])
            value = [piece for one in parts[end + 2 :] for piece in self.pieces(one, depth + 1, quoted=True)]
            if key is not None and head.startswith("="):
                first = Piece(head[1:], self.where(parts[end + 1]))
                self.variables.give(f"{name}[{key}]", (first, *value), self.where(node))

    def element(self, node: Node, depth: int) -> str | None:
        """The name of an element of an associative array; None for other arrays, and where the key is unknown."""
        name, *key = node.named_children
        if source(name) not in self.variables.maps:
            return None
        found = self.joined_text(key, depth)
        return None if found is None else f"{source(name)}[{found}]"

    def numbered(self, node: Node, depth: int) -> Word | None:
        """An element of an array by its number, None where either is unknown."""
        name, *key = node.named_children
        found, words = self.joined_text(key, depth), self.variables.arrays.get(source(name))
        if found is None or words is None or not found.isdigit() or not int(found[:6]) < len(words):
            return None
        self.variables.used.add(source(name))
        return words[int(found)]

    def joined_text(self, nodes: list[Node], depth: int) -> str | None:
        """The text of some nodes, None where a part of it is unknown."""
        pieces: Iterator[Piece] = (piece for one in nodes for piece in self.pieces(one, depth + 1, quoted=True))
        found = text(tuple(pieces))
        return None if unknown(found) else found
