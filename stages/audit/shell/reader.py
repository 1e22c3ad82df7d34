"""Shell scripts: their variables, and the commands that they would type. Nothing is run, no substitution is made.

The grammar is tree-sitter's; what is read of it is what recipes are written in: assignments, arrays, expansions with a
default, integer arithmetic, branches, loops over words, `source` of files next to it. A test for a file or folder is
false: the recipe is read as its first launch, before it has written anything. A branch that cannot be decided is read
both ways, and what differs is unknown afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from stages.audit.readers import text as files
from stages.audit.readers.text import Source
from stages.audit.shell.control_flow import ControlFlow
from stages.audit.shell.expansion import source
from stages.audit.shell.variables import Variables
from stages.audit.shell.words import DEEPEST, SUBSTITUTION, Piece, Word, fields, text
from stages.errors import Where
from stages.printable import printable

MAX_SOURCED = 8  # files that source one another
# `$(dirname "$0")/`, `${0%/*}/` and their like.
_OWN_FOLDER = re.compile(r"^(\$\(\.\.\.\)|\$\{(BASH_SOURCE|0)\b[^{}]*\})/")


@dataclass(frozen=True)
class Command:
    """A command and its words, expanded as far as the text says."""

    words: tuple[Word, ...]
    where: Where
    configuration: Word = ()  # what CONFIG_FILE is there: torchtitan's run_train.sh takes its file from it


@dataclass
class Script:
    """What a script says: its commands, comments by place, and variables."""

    commands: list[Command] = field(default_factory=list)
    comments: list[tuple[Where, str]] = field(default_factory=list)
    variables: Variables = field(default_factory=Variables)
    notes: list[str] = field(default_factory=list)


def read(file: Source) -> Script:
    """A script, and what it sources below its root. Raises Unreadable."""
    script = Script()
    _Reader(script, file.root, file.base).file(file.path, [])
    return script


class _Reader(ControlFlow):
    def __init__(self, script: Script, root: Path, base: Path) -> None:
        super().__init__(script.variables)
        self.script, self.root, self.base = script, root, base
        self.stack = [Path()]
        self.parser = Parser(Language(tree_sitter_bash.language()))

    def file(self, path: Path, stack: list[Path]) -> None:
        name = printable(path.relative_to(self.base).as_posix())
        data = files.text(path, name).encode()
        before = self.name, self.stack
        self.name, self.stack = name, [*stack, path]
        with self.returning():
            self.statements(self.parser.parse(data).root_node, 0)
        self.name, self.stack = before

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
                self.for_loop(node, depth)
            case "case_statement":
                self.case(node, depth)
            case "while_statement":
                self.while_loop(node, depth)
            case "c_style_for_statement":
                self.either_way([node.named_children, []], depth)
            case "function_definition" if (name := node.child_by_field_name("name")) is not None:
                self.functions[source(name)] = (node.named_children[-1], self.name)
            case "ERROR":
                self.note_syntax_error(node)
                self.statements(node, depth)
            case "list" if len(node.named_children) == 2:
                self.and_or(node, depth)
            case "redirected_statement":
                self.redirected(node, depth)
            case "pipeline":
                before = None if self.printed is None else list(self.printed)
                self.statements(node, depth)
                self.printed = None if before is None else [*before, Piece(SUBSTITUTION, self.where(node))]
            case "elif_clause" | "else_clause" | "do_group" | "program" | "list" | "subshell":
                self.statements(node, depth)
            case "declaration_command":
                self.local(node)
                if source(node).startswith("export"):
                    self.exported(node)
                self.statements(node, depth)
            case "compound_statement" | "variable_assignments" | "negated_command":
                self.statements(node, depth)
            case _:
                pass

    def note_syntax_error(self, node: Node) -> None:
        """Says once for a file that a part of it is none of the shell's grammar; what can be read of it is."""
        begin = f"{self.name}:"
        if not any(one.startswith(begin) and one.endswith("shell's grammar") for one in self.script.notes):
            self.script.notes.append(f"{self.where(node)}: from here on something is not in the shell's grammar")

    def assign(self, node: Node, depth: int) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is not None and name.type == "subscript":
            self.variables.lose(source(name.named_children[0]))  # what the array then is, is not followed
        if name is None or name.type != "variable_name":
            return
        append = any(child.type == "+=" for child in node.children)
        if value is not None and value.type == "array":
            self.comments(value)
            if any(source(one).startswith("[") for one in value.named_children):  # an associative array
                self.variables.lose(source(name))
                return
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
        if len(words) > 1 and text(words[0]) == "eval":  # its words make up a command
            blank = Piece(" ", self.where(node))
            words = fields((piece for word in words[1:] for piece in (*word, blank)), everywhere=True)
        if not words:
            return
        name = text(words[0])
        if name not in self.functions and name != "set":  # of a function, the commands in its body are started
            configuration = self.variables.scalars.get("CONFIG_FILE", ())
            self.script.commands.append(Command(tuple(words), self.where(node), configuration))
        self.prints(words, self.where(node))
        if name in {"source", "."} and len(words) > 1:
            self.sourced(text(words[1]), self.where(node))
        elif name in {"read", "mapfile", "readarray"}:
            for word in words[1:]:
                self.variables.lose(text(word))
        elif name == "return" and "".join(map(text, words[1:])) in {"", "0"}:
            self.returned = True
        elif name in self.functions and depth < DEEPEST:
            body, file = self.functions[name]
            before, self.name = self.name, file
            with self.called(words[1:], self.where(node)), self.returning():
                self.statement(body, depth + 1)
            self.name = before
        elif name == "shift":
            self.shift(words[1:], self.where(node))
        elif name == "set" and len(words) > 1 and text(words[1]) == "--":
            self.parameters(words[2:], self.where(node), known=True)
        elif name in {"continue", "break"} and len(words) == 1:
            self.leave(name)

    def sourced(self, target: str, where: Where) -> None:
        """Reads a file that is sourced, if it lies next to the script and is not being read already."""
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
        self.script.notes.append(f"{where}: {printable(target)} is sourced, and was not read")

    def tested(self, node: Node) -> str:
        """A word of a test as text. What the environment alone could set is not set, as published; but Slurm's is."""
        word = source(node).strip().strip('"')
        if word in {"$#", "${#}"} and not self.variables.known("#") and not self.frames:
            return "0"  # as published, without arguments
        name = word.strip("${}") if word.startswith("$") else ""
        unset = not self.variables.known(name) and name not in self.variables.outside
        if unset and name.isidentifier() and not name.startswith("SLURM"):
            return ""
        return text(tuple(self.pieces(node, 0, quoted=True)))
