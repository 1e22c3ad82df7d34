"""Branches and loops of a shell script: the way that its tests decide; where they do not, all ways are read, and what
differs between them is unknown afterwards.

A script is read as its first launch, without arguments: `while [ $# -gt 0 ]` is over before it begins. A function ends
where it returns 0. A return of another status is left out, as `exit` is: it ends a launch that did not get what it
needs, such as a variable of the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tree_sitter import Node

from stages.audit.shell import conditions
from stages.audit.shell.commands import Commands
from stages.audit.shell.expansion import source
from stages.audit.shell.variables import Variables
from stages.audit.shell.words import Piece

MAX_LOOP = 256  # times that a loop is read
_TESTS = frozenset({"test_command", "negated_command", "list", "parenthesized_expression"})


class ControlFlow(Commands):
    """Statements of which a test or a list of words says whether, and how often, they are read."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self.returned: bool | None = False  # from the function or file that is read; None: on some ways
        self.broken: str = ""  # the word by which the body that is read ended: continue or break

    @contextmanager
    def returning(self) -> Iterator[None]:
        """The body of a function or file: a return in it ends no more than this."""
        before, self.returned = self.returned, False
        yield
        self.returned = before

    def statements(self, node: Node, depth: int) -> None:
        """Reads the statements below a node, in order."""
        self.sequence(node.named_children, depth + 1)

    def sequence(self, nodes: list[Node], depth: int) -> None:
        """Reads statements up to a return; what follows one that is on some ways alone is such a way itself."""
        for number, node in enumerate(nodes):
            self.statement(node, depth)
            if self.returned is None and nodes[number + 1 :]:
                self.returned = False
                self.either_way([nodes[number + 1 :], []], depth)
                self.returned = None
            if self.returned is not False:
                return

    def tested(self, node: Node) -> str:
        """A word of a test as text."""
        raise NotImplementedError

    def branch(self, node: Node, depth: int) -> None:
        """`if`: the body, or the first of the others whose test is true."""
        condition = node.child_by_field_name("condition")
        taken = None if condition is None else conditions.decide(condition, self.tested)
        body = [
            one for one in node.named_children if one != condition and one.type not in {"elif_clause", "else_clause"}
        ]
        others = [one for one in node.named_children if one.type in {"elif_clause", "else_clause"}]
        if taken is None:
            return self.either_way([body, others], depth)
        if not taken and others and others[0].type == "elif_clause":
            return self.elif_clause(others[0], others[1:], depth)
        return self.sequence(body if taken else others[:1], depth + 1)

    def elif_clause(self, node: Node, others: list[Node], depth: int) -> None:
        """`elif`: its body, or the rest of the branch."""
        taken = conditions.decide(node.named_children[0], self.tested)
        if taken is None:
            return self.either_way([[node], others], depth)
        if not taken and others and others[0].type == "elif_clause":
            return self.elif_clause(others[0], others[1:], depth)
        return self.statements(node, depth) if taken else self.sequence(others[:1], depth + 1)

    def case(self, node: Node, depth: int) -> None:
        """`case WORD in`: the first item of which a pattern is the word; where one is not known, any of them."""
        value, items = (
            node.child_by_field_name("value"),
            [one for one in node.named_children if one.type == "case_item"],
        )
        bodies = [[one for one in item.named_children if one not in item.children_by_field_name("value")]
                  for item in items]  # fmt: skip
        word = "" if value is None else self.tested(value)
        for item, body in zip(items, bodies, strict=True):
            patterns = [source(one).strip("\"'") for one in item.children_by_field_name("value")]
            taken = conditions.matches(word, patterns)
            if taken is None:
                return self.either_way([*bodies, []], depth)
            if taken:
                return self.sequence(body, depth + 1)
        return None

    def either_way(self, ways: list[list[Node]], depth: int) -> None:
        """Reads every way from the same variables; an empty one does nothing."""
        left: list[Variables] = []
        outer, before, returned = self.variables, self.printed, set[bool | None]()
        printed: list[list[Piece]] = []
        first = next((one for way in ways for one in way), None)
        if first is not None:  # of each way a copy is made
            self.count(first, depth, (len(ways) - 1) * (len(outer.scalars) + len(outer.arrays)))
        for way in ways:
            self.variables, self.printed = outer.fork(), None if before is None else list(before)
            self.returned = False
            self.sequence(way, depth + 1)
            returned.add(self.returned)
            left.append(self.variables)
            printed += [] if self.printed is None else [self.printed]
        self.variables, self.printed = outer, before
        self.returned = returned.pop() if len(returned) == 1 else None
        outer.keep(left)
        if printed and first is not None:
            self.printed = self.shared(printed, self.where(first))

    def and_or(self, node: Node, depth: int) -> None:
        """`first && second`, `first || second`: the second is read where the first is a test that decides so."""
        first, second = node.named_children
        every = any(one.type == "&&" for one in node.children)
        self.statement(first, depth + 1)
        taken = conditions.decide(first, self.tested) if first.type in _TESTS else True if every else None
        if taken is None:
            self.either_way([[second], []], depth)
        elif taken == every:
            self.statement(second, depth + 1)

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
        """`for NAME in words`: the body once for each word."""
        name, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        if name is None or body is None:
            return
        nodes = [one for one in node.named_children if one not in (name, body)]
        for word in self.expanded(nodes, depth)[:MAX_LOOP]:
            self.variables.give(source(name), word, self.where(body))
            with self.once():
                self.statements(body, depth)
            if self.returned or self.broken == "break":
                return

    def while_loop(self, node: Node, depth: int) -> None:
        """`while test`: as often as the test is true; where the text does not decide it, both ways."""
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        decides = condition is not None and condition.type in _TESTS and source(node).startswith("while")
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
