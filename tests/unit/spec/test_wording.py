"""No message is in a library's words: libyaml's, json's and pydantic's are of another reader."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stages.errors import SpecError
from stages.spec import nodes, wording

BROKEN = {
    "a: {b: 1\nc: 2\n": "a {...} that is not closed, or lacks a comma",
    "a: {b: 1": "a {...} that is not closed, or lacks a comma",
    "a: [1, 2\nb: 3\n": "a [...] that is not closed, or lacks a comma",
    "a: [": "a [ or { that is not closed",
    "a: 1\n b: 2\n": "a line that is further in than line 1, whose key has its value already",
    "a: b: c\n": "a second colon in a line",
    "a:\n  - x\n  y: 1\n": "a line that belongs to no item of the list",
    "a: 1\nb\nc: 2\n": "a key without a colon",
    "a: @x\n": "a character that begins no value",
    "a:\n\tb: 1\n": "a tab before the text of a line",
    'a: "x\n': "a quote that is not closed",
    'a: "\\q"\n': "a backslash that YAML does not know",
    "a: - b\n": "`- ` where no list can begin",
    "a: |x\n": "what is not YAML",
    "a:\n  b: 1\n c: 2\n": "a line that is neither a key nor further in than the key above",
}


@pytest.mark.parametrize("text", BROKEN, ids=repr)
def test_what_is_not_yaml_is_told_in_plain_words_with_what_to_do(text: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as raised:
        list(yaml.parse(text, Loader=yaml.CSafeLoader))
    with pytest.raises(SpecError) as caught:
        nodes.parse(text.encode(), "x.yaml")
    assert caught.value.found == BROKEN[text]
    assert str(raised.value.problem) not in str(caught.value)
    assert caught.value.repair.endswith(".")


NOT_JSON = {
    "": "it is empty",
    "{": "cut off at column 2",
    '{"a": 1': "cut off at column 8",
    '{"a": 1\n': "cut off at column 8",
    "{} {}": "more than one value, at column 4",
    '{"a": nope}': "wrong at column 7",
    '{"a": 1,\n "b": x}': "wrong at line 2, column 7",
    '"\x01"': "a control character at column 2",
}


@pytest.mark.parametrize("text", NOT_JSON, ids=repr)
def test_what_is_not_json_is_told_with_its_place(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    assert wording.of_json(caught.value) == NOT_JSON[text]


@dataclass(frozen=True)
class Inner:
    a: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    whole: Annotated[int, Field(ge=0, lt=10)] = 0
    number: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    text: Annotated[str, Field(min_length=2, max_length=3, pattern="^x")] = "xx"
    flag: bool = False
    word: Literal["a", "b"] = "a"
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = Field(default=[1])
    pair: tuple[int, int] = (1, 2)
    by_name: dict[str, int] = Field(default={})
    inner: Inner | None = None


WRONG = {
    '{"whole": "1"}': "whole: expected a whole number",
    '{"whole": 1.5}': "whole: expected a whole number",
    '{"whole": -1}': "whole: expected at least 0",
    '{"whole": 10}': "whole: expected less than 10",
    '{"number": "x"}': "number: expected a number",
    '{"number": 0}': "number: expected more than 0.0",
    '{"text": 1}': "text: expected text",
    '{"text": "x"}': "text: expected text of at least 2 characters",
    '{"text": "xxxx"}': "text: expected text of at most 3 characters",
    '{"text": "yy"}': "text: expected text that matches ^x",
    '{"flag": 1}': "flag: expected true or false",
    '{"word": "c"}': "word: expected 'a' or 'b'",
    '{"items": {}}': "items: expected a list",
    '{"items": []}': "items: expected at least 1 entries",
    '{"items": [1, 2, 3]}': "items: expected at most 2 entries",
    '{"pair": [1]}': "pair.1: is missing",
    '{"by_name": []}': "by_name: expected a mapping",
    '{"inner": {}}': "inner.a: is missing",
    '{"inner": []}': "inner: expected a mapping",
    '{"inner": {"a": 1, "b": 2}}': "inner.b: is no known key",
    '{"other": 1}': "other: is no known key",
    "[]": "top level: expected a mapping",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_value_of_another_kind_is_told_by_what_is_expected(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Outer).validate_json(text)
    first = caught.value.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "top level"
    assert f"{place}: {wording.of_value(first)}" == WRONG[text]
