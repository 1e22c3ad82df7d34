"""Branches of a shell script: the way that its tests decide; where they do not, all ways are read, and what differs
between them is unknown afterwards."""

from __future__ import annotations

from tree_sitter import Node

from stages.audit.readers import shell_tests
from stages.audit.readers.shell_printed import Printed
from stages.audit.readers.shell_state import Variables
from stages.audit.readers.shell_words import Piece

TESTS = frozenset({"test_command", "negated_command", "list", "parenthesized_expression"})


class Branches(Printed):
    """Statements of which a test says whether they are read."""

    def statements(self, node: Node, depth: int) -> None:
        """Reads every statement below a node."""
        raise NotImplementedError

    def tested(self, node: Node) -> str:
        """A word of a test as text."""
        raise NotImplementedError

    def branch(self, node: Node, depth: int) -> None:
        """`if`: the body, or the first of the others whose test is true."""
        condition = node.child_by_field_name("condition")
        taken = None if condition is None else shell_tests.decide(condition, self.tested)
        body = [
            one for one in node.named_children if one != condition and one.type not in {"elif_clause", "else_clause"}
        ]
        others = [one for one in node.named_children if one.type in {"elif_clause", "else_clause"}]
        if taken is None:
            return self.either_way([body, others], depth)
        for one in body if taken else others[:1]:
            if one.type == "elif_clause":
                return self.elif_clause(one, others[1:], depth)
            self.statements(one, depth) if one.type == "else_clause" else self.statement(one, depth + 1)
        return None

    def elif_clause(self, node: Node, others: list[Node], depth: int) -> None:
        """`elif`: its body, or the rest of the branch."""
        taken = shell_tests.decide(node.named_children[0], self.tested)
        if taken is None:
            return self.either_way([node, others], depth)
        if taken:
            return self.statements(node, depth)
        for one in others[:1]:
            self.elif_clause(one, others[1:], depth) if one.type == "elif_clause" else self.statements(one, depth)
        return None

    def either_way(self, ways: list[Node | list[Node] | None], depth: int) -> None:
        """Reads every way from the same variables; None is a way on which nothing is done."""
        left: list[Variables] = []
        outer, before = self.variables, self.printed
        printed: list[list[Piece]] = []
        first = next(
            (one for way in ways for one in (way if isinstance(way, list) else [way]) if one is not None), None
        )
        if first is not None:
            self.count(first, depth, len(outer.scalars) + len(outer.arrays))  # of each way a copy is made
        for way in ways:
            self.variables, self.printed = outer.fork(), None if before is None else list(before)
            for one in way if isinstance(way, list) else [way] if way is not None else []:
                nested = one.type in {"elif_clause", "else_clause", "case_statement", "while_statement"}
                self.statements(one, depth) if nested else self.statement(one, depth + 1)
            left.append(self.variables)
            printed += [] if self.printed is None else [self.printed]
        self.variables, self.printed = outer, before
        outer.keep(left)
        if printed and first is not None:
            self.printed = self.common(printed, self.where(first))

    def joined(self, node: Node, depth: int) -> None:
        """`first && second`, `first || second`: the second is read where the first is a test that decides so."""
        first, second = node.named_children
        every = any(one.type == "&&" for one in node.children)
        self.statement(first, depth + 1)
        taken = shell_tests.decide(first, self.tested) if first.type in TESTS else True if every else None
        if taken is None:
            self.either_way([[second], []], depth)
        elif taken == every:
            self.statement(second, depth + 1)
