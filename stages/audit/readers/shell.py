"""Shell scripts: their variables, and the commands that they would type. Nothing is run, no substitution is made.

The grammar is tree-sitter's; what is read of it is what recipes are written in: assignments, arrays, expansions with a
default, integer arithmetic, branches, loops over words, `source` of files beside it. A test for a file or folder is
false: the recipe is read as its first launch, before it has written anything. A branch that cannot be decided is read
both ways, and what differs is unknown afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from stages.audit.readers import shell_tests
from stages.audit.readers import text as files
from stages.audit.readers.shell_calls import Calls
from stages.audit.readers.shell_expand import source
from stages.audit.readers.shell_state import Variables
from stages.audit.readers.shell_words import DEEPEST, Piece, Word, text
from stages.audit.readers.text import Source
from stages.errors import Where
from stages.printable import printable

TESTS = frozenset({"test_command", "negated_command", "list", "parenthesized_expression"})
MAX_LOOP = 256  # words that a loop is read for
MAX_SOURCED = 8  # files that source one another
_OWN_FOLDER = re.compile(
    r"^(\$\(\.\.\.\)|\$\{(BASH_SOURCE|0)\b[^{}]*\})/"
)  # `$(dirname "$0")/`, `${0%/*}/` and their like


@dataclass(frozen=True)
class Command:
    """A command and its words, expanded as far as the text says."""

    words: tuple[Word, ...]
    where: Where


@dataclass
class Script:
    """What a script says: its commands, comments by place, and variables."""

    commands: list[Command] = field(default_factory=list)
    comments: list[tuple[Where, str]] = field(default_factory=list)
    variables: Variables = field(default_factory=Variables)
    said: list[str] = field(default_factory=list)


def read(file: Source) -> Script:
    """A script, and what it sources below its root. Raises Unreadable."""
    script = Script()
    _Reader(script, file.root, file.base).file(file.path, [])
    return script


class _Reader(Calls):
    def __init__(self, script: Script, root: Path, base: Path) -> None:
        super().__init__(script.variables)
        self.script, self.root, self.base = script, root, base
        self.functions: dict[str, tuple[Node, str]] = {}
        self.stack = [Path()]
        self.parser = Parser(Language(tree_sitter_bash.language()))

    def file(self, path: Path, stack: list[Path]) -> None:
        name = printable(path.relative_to(self.base).as_posix())
        data = files.text(path, name).encode()
        before = self.name, self.stack
        self.name, self.stack = name, [*stack, path]
        self.statements(self.parser.parse(data).root_node, 0)
        self.name, self.stack = before

    def statements(self, node: Node, depth: int) -> None:
        for child in node.named_children:
            self.statement(child, depth + 1)

    def statement(self, node: Node, depth: int) -> None:
        self.count(node, depth)
        match node.type:
            case "comment":
                self.script.comments.append((self.where(node), source(node)))
            case "variable_assignment":
                self.assign(node, depth)
            case "command":
                self.command(node, depth)
            case "if_statement":
                self.branch(node, depth)
            case "for_statement":
                self.loop(node, depth)
            case "case_statement" | "while_statement" | "c_style_for_statement":
                self.either_way([node, None], depth)
            case "function_definition" if (name := node.child_by_field_name("name")) is not None:
                self.functions[source(name)] = (node.named_children[-1], self.name)
            case "ERROR":
                self.unparsed(node)
                self.statements(node, depth)
            case "list" if len(node.named_children) == 2:
                self.joined(node, depth)
            case "redirected_statement":
                self.statements(node, depth)
                self.read_here(node, depth)
            case "case_item" | "do_group" | "program" | "list" | "pipeline" | "subshell":
                self.statements(node, depth)
            case "declaration_command":
                self.local(node)
                self.statements(node, depth)
            case "compound_statement" | "variable_assignments" | "negated_command":
                self.statements(node, depth)
            case _:
                pass

    def unparsed(self, node: Node) -> None:
        """Says once for a file that a part of it is none of the shell's grammar; what can be read of it is."""
        said = f"{self.name}:"
        if not any(one.startswith(said) and one.endswith("shell's grammar") for one in self.script.said):
            self.script.said.append(f"{self.where(node)}: from here on something is not in the shell's grammar")

    def assign(self, node: Node, depth: int) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is not None and name.type == "subscript":  # one element: what the array then is, nobody looks up
            self.variables.lose(source(name.named_children[0]))
        if name is None or name.type != "variable_name":
            return
        append = any(child.type == "+=" for child in node.children)
        if value is not None and value.type == "array":
            self.comments(value)
            self.variables.give_array(
                source(name), self.expanded(value.named_children, depth), self.where(node), append
            )
            return
        word = tuple(self.pieces(value, depth, quoted=True)) if value is not None else ()
        self.variables.give(source(name), word or (Piece("", self.where(node)),), self.where(node), append)

    def comments(self, node: Node) -> None:
        found = [(self.where(one), source(one)) for one in node.named_children if one.type == "comment"]
        self.script.comments.extend(found)

    def command(self, node: Node, depth: int) -> None:
        self.comments(node)
        words = self.expanded([one for one in node.named_children if one.type != "variable_assignment"], depth)
        for child in node.named_children:
            if child.type == "variable_assignment":
                self.assign(child, depth)
        if not words:
            return
        self.script.commands.append(Command(tuple(words), self.where(node)))
        name = text(words[0])
        if name in {"source", "."} and len(words) > 1:
            self.sourced(text(words[1]), self.where(node))
        elif name in {"read", "mapfile", "readarray"}:
            for word in words[1:]:
                self.variables.lose(text(word))
        elif name in self.functions and depth < DEEPEST:
            body, file = self.functions[name]
            before, self.name = self.name, file
            with self.called(words[1:], self.where(node)):
                self.statement(body, depth + 1)
            self.name = before
        elif name == "shift":
            self.shift(words[1:], self.where(node))

    def sourced(self, target: str, where: Where) -> None:
        """Reads a file that is sourced, if it lies beside the script and is not being read already."""
        beside = _OWN_FOLDER.sub("", target)
        for folder in (self.stack[-1].parent, self.root):
            path = Path(folder, beside)
            if "$" in beside or not path.is_file() or path.is_symlink():
                continue
            path = path.resolve()
            inside = path.is_relative_to(self.root.resolve())
            if inside and path not in [one.resolve() for one in self.stack] and len(self.stack) < MAX_SOURCED:
                self.file(path, self.stack)
                return
        self.script.said.append(f"{where}: {printable(target)} is sourced, and was not read")

    def branch(self, node: Node, depth: int) -> None:
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
        taken = shell_tests.decide(node.named_children[0], self.tested)
        if taken is None:
            return self.either_way([node, others], depth)
        if taken:
            return self.statements(node, depth)
        for one in others[:1]:
            self.elif_clause(one, others[1:], depth) if one.type == "elif_clause" else self.statements(one, depth)
        return None

    def either_way(self, ways: list[Node | list[Node] | None], depth: int) -> None:
        left: list[Variables] = []
        outer = self.variables
        first = next(
            (one for way in ways for one in (way if isinstance(way, list) else [way]) if one is not None), None
        )
        if first is not None:
            self.count(first, depth, len(outer.scalars) + len(outer.arrays))  # of each way a copy is made
        for way in ways:
            self.variables = outer.fork()
            for one in way if isinstance(way, list) else [way] if way is not None else []:
                nested = one.type in {"elif_clause", "else_clause", "case_statement", "while_statement"}
                self.statements(one, depth) if nested else self.statement(one, depth + 1)
            left.append(self.variables)
        self.variables = outer
        outer.keep(left)

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

    def loop(self, node: Node, depth: int) -> None:
        name = node.child_by_field_name("variable")
        body = node.child_by_field_name("body")
        if name is None or body is None:
            return
        nodes = [one for one in node.named_children if one not in (name, body)]
        for word in self.expanded(nodes, depth)[:MAX_LOOP]:
            self.variables.give(source(name), word, self.where(node))
            self.statements(body, depth)

    def tested(self, node: Node) -> str:
        """A word of a test as text. What the environment alone could set is not set, as published; but Slurm's is."""
        word = source(node).strip().strip('"')
        name = word.strip("${}") if word.startswith("$") else ""
        unset = not self.variables.known(name) and name not in self.variables.outside
        if unset and name.isidentifier() and not name.startswith("SLURM"):
            return ""
        return text(tuple(self.pieces(node, 0, quoted=True)))
