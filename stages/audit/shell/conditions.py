"""Tests of a shell script that its text decides: `[ "$A" = true ]`, `-eq`, `-z`; and files: none is there yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from tree_sitter import Node

from stages.audit.shell.words import DEEPEST, unknown

_FILES = frozenset({"-d", "-e", "-f", "-s", "-r", "-w", "-x", "-L", "-h"})
_PATTERN = re.compile(r"[\w.*?+/:#-]+")  # as people write them
Text = Callable[[Node], str]


def decide(node: Node, text: Text, depth: int = 0) -> bool | None:
    """Whether a condition is true; None where the text does not say."""
    if depth > DEEPEST:
        return None
    children = node.named_children
    match node.type:
        case "test_command" | "parenthesized_expression" if len(children) == 1:
            return decide(children[0], text, depth + 1)
        case "list" if len(children) == 2:
            both = decide(children[0], text, depth + 1), decide(children[1], text, depth + 1)
            return _joined(both, any(one.type == "&&" for one in node.children))
        case "unary_expression" if len(children) == 2:
            return _unary((children[0].text or b"").decode(), children[1], text)
        case "unary_expression" | "negated_command" if len(children) == 1:
            inner = decide(children[0], text, depth + 1)
            return None if inner is None else not inner
        case "binary_expression" if len(node.children) == 3:
            operator = (node.children[1].text or b"").decode()
            if operator in {"&&", "||", "-a", "-o"}:
                both = decide(node.children[0], text, depth + 1), decide(node.children[2], text, depth + 1)
                return _joined(both, operator in {"&&", "-a"})
            return _binary(text(node.children[0]), operator, text(node.children[2]))
        case _:
            return None


def matches(word: str, patterns: list[str]) -> bool | None:
    """Whether one of the patterns of a `case` item is a word; None where the text does not say."""
    if "*" in patterns:
        return True
    if not word or unknown(word) or not all(_PATTERN.fullmatch(one) for one in patterns):
        return None
    return any(fnmatchcase(word, one) for one in patterns)


def _joined(both: tuple[bool | None, bool | None], every: bool) -> bool | None:
    if every:
        return False if False in both else True if both == (True, True) else None
    return True if True in both else False if both == (False, False) else None


def _unary(operator: str, operand: Node, text: Text) -> bool | None:
    if operator in _FILES:
        return False  # the first launch: nothing has been written
    content = text(operand)
    if operator not in {"-z", "-n"} or unknown(content):
        return None
    return (content == "") == (operator == "-z")


def _binary(left: str, operator: str, right: str) -> bool | None:
    if unknown(left) or unknown(right):
        return None
    if operator in {"=", "==", "!="}:
        if any(mark in right for mark in "*?["):  # a pattern, as [[ ]] takes it
            same = fnmatchcase(left, right) if _PATTERN.fullmatch(right) else None
            return None if same is None else same == (operator != "!=")
        return (left == right) == (operator != "!=")
    try:
        first, second = int(left), int(right)
    except ValueError:
        return None
    orders = {"-eq": first == second, "-ne": first != second, "-lt": first < second, "-le": first <= second,
              "-gt": first > second, "-ge": first >= second, "<": first < second, ">": first > second}  # fmt: skip
    return orders.get(operator)
