"""What is wrong with one value in words of this project: those of pydantic, libyaml and json are of other readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic_core import ErrorDetails

# pydantic's names of what is wrong -> what is there instead, or is expected. `{}` are keys of the error's context.
VALUES = {
    "missing": "is missing",
    "extra_forbidden": "is no known key",
    "unexpected_keyword_argument": "is no known key",
    "string_type": "expected text",
    "string_sub_type": "expected text",
    "string_too_short": "expected text of at least {min_length} characters",
    "string_too_long": "expected text of at most {max_length} characters",
    "string_pattern_mismatch": "expected text that matches {pattern}",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a smaller whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "none_required": "expected null",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "mapping_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dataclass_type": "expected a mapping",
    "too_short": "expected at least {min_length} entries",
    "too_long": "expected at most {max_length} entries",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "multiple_of": "expected a multiple of {multiple_of}",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "union_tag_invalid": "expected {expected_tags}",
    "union_tag_not_found": "expected {discriminator} to say of what kind it is",
}
# How libyaml and PyYAML begin what they say -> (what it is, what to do).
YAML = {
    "did not find expected ',' or '}'": (
        "a {...} that is not closed, or lacks a comma",
        "Close it, add the comma, or quote a text that has `: `.",
    ),
    "did not find expected ',' or ']'": ("a [...] that is not closed, or lacks a comma", "Close it, or add the comma."),
    "did not find expected node content": ("a [ or { that is not closed", "Close it."),
    "did not find expected key": (
        "a line that is neither a key nor further in than the key above",
        "Indent it, or put the key that it belongs to back.",
    ),
    "did not find expected '-' indicator": ("a line that belongs to no item of the list", "Begin it with `- `."),
    "could not find expected ':'": ("a key without a colon", "Write `key: value`."),
    "mapping values are not allowed": ("a second colon in a line", "Put quotes around the text."),
    "block sequence entries are not allowed": ("`- ` where no list can begin", "Put the list into lines of its own."),
    "block mapping entries are not allowed": ("a key where none can begin", "Put it into a line of its own."),
    "found character that cannot start any token": ("a character that begins no value", "Put quotes around the text."),
    "found a tab character": ("a tab", "Indent with spaces."),
    "found unexpected end of stream": ("a quote that is not closed", "Close it."),
    "found unknown escape character": ("a backslash that YAML does not know", "Use single quotes."),
    "found unexpected ':'": ("a colon without a blank behind it", "Write `key: value`, each with a value."),
    "found undefined tag handle": ("a value that begins with !", "Put quotes around the text."),
}
# The same of json's messages.
JSON = {
    "Extra data": "more than one value,",
    "Unexpected UTF-8 BOM": "a byte order mark",
    "Invalid control": "a control character",
    "Unterminated string": "a text without an end",
}
# What Python reads of JSON -> what it is there.
KINDS: Mapping[type, str] = {
    type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list",
    dict: "an object",
}  # fmt: skip


def of_kind(value: object) -> str:
    """What a value is in JSON: `null`, `a number`; a value of a type that JSON does not have by its name in Python."""
    return KINDS.get(type(value)) or f"a value of type {type(value).__name__}"


def of_value(detail: ErrorDetails) -> str:
    """What is wrong with a value, of which pydantic says this."""
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] in ("value_error", "assertion_error"):
        return str(context["error"])  # of a check of this project
    return VALUES.get(detail["type"], "expected another value").format_map(context)


def of_yaml(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """What of a text is not YAML, and what to do."""
    problem = error.problem or ""
    return next(
        (found for start, found in YAML.items() if problem.startswith(start)), ("what is not YAML", "Correct it.")
    )


def of_json(error: ValueError) -> str:
    """Where a text is not JSON, or what in it JSON does not have."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if not isinstance(error, json.JSONDecodeError):
        return "a number of too many digits" if "digits) for integer" in str(error) else str(error)
    if not error.doc.strip():
        return "it is empty"
    what = next((text for start, text in JSON.items() if error.msg.startswith(start)), "wrong")
    if error.pos >= (end := len(error.doc.rstrip())):  # a line break after the text is no part of it
        what, error = "cut off", json.JSONDecodeError(error.msg, error.doc, end)
    line = f"line {error.lineno}, " if "\n" in error.doc.strip() else ""
    return f"{what} at {line}column {error.colno}"
