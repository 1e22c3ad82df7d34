"""Conversations the wrong way round, or with the same answer in every row: said, not refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from stages.data import spec
from stages.data.files import first_turns
from tests.unit.data.files_of_users import declare
from tests.unit.data.small import build

ASKED, ANSWER, SYSTEM = "user", "assistant", "system"


def said(root: Path, given: list[dict[str, Any]], **more: Any) -> str:
    small = build(root)
    (root / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    declare(small, "a.jsonl", kind="sft", **more)
    return first_turns.said(root, spec.load(root, "mine", declared=False))


def chat(number: int, *roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"{role} {number}"} for role in roles]}


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        ((ANSWER, ASKED), (ASKED, ANSWER), "6 of the first 10 conversations begin with an answer, before anything is "),
        ((SYSTEM, ANSWER, ASKED), (SYSTEM, ASKED, ANSWER), "6 of the first 10 conversations begin with an answer"),
        ((ASKED, ANSWER), (ANSWER, ASKED, ANSWER), ""),
        ((SYSTEM, ASKED, ANSWER), (ASKED, ANSWER), ""),
    ],
)
def test_conversations_that_begin_with_an_answer(
    tmp_path: Path, wrong: tuple[str, ...], right: tuple[str, ...], told: str
) -> None:
    found = said(tmp_path, [chat(number, *(wrong if number < 6 else right)) for number in range(10)])
    assert found.startswith(told) if told else not found


@pytest.mark.parametrize(("rows", "told"), [(20, True), (19, False)])
def test_one_answer_to_everything(tmp_path: Path, rows: int, told: bool) -> None:
    found = said(tmp_path, [{"instruction": f"{one}?", "output": "x" * 50} for one in range(rows)], rows="alpaca")
    assert found == f"the last answers of the first {rows} conversations all begin '{'x' * 40}'" * told


def test_two_answers_to_everything_are_labels(tmp_path: Path) -> None:
    rows = [{"instruction": f"{one}?", "output": "yes" if one % 7 else "no"} for one in range(30)]
    assert said(tmp_path, rows, rows="alpaca") == ""


def test_rows_that_cannot_be_read_and_prompts_without_turns_say_nothing(tmp_path: Path) -> None:
    assert said(tmp_path, [{"messages": "a"}] * 30) == ""
    strings = [{"prompt": f"{one}?", "completion": "a"} for one in range(30)]
    assert said(tmp_path, strings, rows="prompt_completion") == ""


def test_long_conversations_are_not_in_memory_together(tmp_path: Path) -> None:
    turns = [{"role": role, "content": "a" * (1 << 18)} for role in (ASKED, ANSWER)]
    small = build(tmp_path)
    (tmp_path / "a.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 30)
    declare(small, "a.jsonl", kind="sft")
    declared = spec.load(tmp_path, "mine", declared=False)
    tracemalloc.start()
    try:
        assert first_turns.said(tmp_path, declared).startswith("the last answers of the first 30 ")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
