"""Columns that are in a user's rows and that nothing reads are named: a system's turn, a picture, a context."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.data import spec
from stages.data.files import unread
from tests.unit.data.files_of_users import FORMATS, declare
from tests.unit.data.small import Small, build

ORCA = [
    {"system_prompt": "be brief", "question": f"{number}?", "response": f"{number}", "id": number}
    for number in range(6)
]
COLUMNS = {"instruction": "question", "output": "response"}


@pytest.fixture
def project(tmp_path: Path) -> Small:
    return build(tmp_path)


def said(project: Small) -> str:
    return unread.said(project.root, spec.load(project.root, "mine", declared=False))


@pytest.mark.parametrize("name", FORMATS)
def test_columns_that_nothing_reads_are_named_in_every_format(project: Small, name: str) -> None:
    FORMATS[name](project.root / name, ORCA)
    declare(project, name, "sft", rows="alpaca", columns=COLUMNS)
    assert said(project).endswith("that are not read: 'system_prompt', 'id'")
    declare(project, name, "sft", rows="alpaca", columns={**COLUMNS, "system": "system_prompt", "input": "id"})
    assert said(project) == ""


def test_of_lines_the_first_hundred_are_looked_at_and_bad_ones_passed_over(project: Small) -> None:
    rows = [b'{"text": "a"}', b"nope", b'{"text": "b", "\\u001b[2J": 1}', *[b'{"text": "c"}'] * 97]
    (project.root / "a.jsonl").write_bytes(b"\n".join([*rows, b'{"text": "d", "late": 1}']))
    declare(project, "a.jsonl")
    assert said(project) == r"columns of a.jsonl that are not read: '\x1b[2J'"


def test_text_that_has_no_columns_has_none_unread(project: Small) -> None:
    (project.root / "a.txt").write_text('{"text": "a", "id": 1}\n\nb')
    declare(project, "a.txt")
    assert said(project) == ""
    assert unread.said(project.root, spec.load(project.root, "math", declared=False)) == ""
