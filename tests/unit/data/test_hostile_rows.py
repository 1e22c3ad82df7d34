"""Rows and files as crawls have them, each refused by its own message and never with a traceback."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.data.document import conversation
from stages.data.tokens.encode import encode
from stages.data.tokens.template import TemplateError
from stages.errors import UserError
from tests.unit.data.files_of_users import alpaca, call, declare, parquet, read, said, turn
from tests.unit.data.published import opened
from tests.unit.data.small import Small
from tests.unit.data.talks import TALK, TOOLS

pa = pytest.importorskip("pyarrow", reason="Parquet is read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS: dict[str, tuple[str, dict[str, object], str]] = {
    "a number as history": ("alpaca", alpaca(history=5), "history is a number instead of a list"),
    "a text as history": ("alpaca", alpaca(history="x"), "history is a string instead of a list"),
    "a number as calls": ("messages", turn(role="assistant", tool_calls=5), r"messages\[2\].tool_calls is a number"),
    "a flag as calls": ("messages", turn(role="assistant", tool_calls=True), r"tool_calls is a boolean"),
    "no number in a call": ("messages", call(name="f", arguments={"x": float("nan")}), "arguments has nan, which"),
    "too large in a call": ("messages", call(name="f", arguments='{"x": [1e400]}'), "arguments has inf, which JSON"),
    "half a character in a call": ("messages", call(name="f", arguments='{"x": "\\ud800"}'), "half of a surrogate"),
    "half a character as a key": ("messages", call(name="f", arguments='{"\\ud800": 1}'), "half of a surrogate pair"),
    "no number in a tool": ("messages", {**turn(role="user", content="x"), "tools": '[{"x": NaN}]'}, "tools has nan"),
    "a turn that is not to be learned": ("sharegpt", said(**{"from": "gpt", "value": "x", "weight": 0}), "t: found 0"),
    "a turn left out of the loss": ("sharegpt", said(**{"from": "gpt", "value": "x", "train": False}), "n: found Fal"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_cannot_be_used_is_named(project: Small, name: str) -> None:
    rows, row, why = ROWS[name]
    (project.root / "a.jsonl").write_text(json.dumps(row) + "\n")
    declare(project, "a.jsonl", "sft", rows=rows)
    with pytest.raises(UserError, match=rf"^a\.jsonl:1: .*{why}.*; allowed: "):
        read(project)


def test_other_keys_of_a_sharegpt_turn_and_a_weight_of_one_are_ignored(project: Small) -> None:
    row = said(**{"from": "gpt", "value": "x", "weight": 1, "train": True, "markdown": None, "id": "3"})
    (project.root / "a.jsonl").write_text(json.dumps(row) + "\n")
    declare(project, "a.jsonl", "sft", rows="sharegpt")
    assert len(read(project)) == 1


def test_a_table_may_not_put_a_date_into_a_call(project: Small) -> None:
    call = {"function": {"name": "f", "arguments": {"when": datetime.datetime(2026, 1, 1)}}}
    messages = [{"role": "user", "content": "?", "tool_calls": None},
                {"role": "assistant", "content": "!", "tool_calls": [call]}]  # fmt: skip
    pq.write_table(pa.table({"messages": [messages]}), project.root / "a.parquet")
    declare(project, "a.parquet", "sft")
    with pytest.raises(UserError, match=r"^a\.parquet:1: messages\[1\].* has a datetime, which JSON does not have"):
        read(project)


@pytest.mark.parametrize("what", ["tools", "a call"])
def test_a_key_that_another_row_of_a_table_has_is_not_made_a_null(project: Small, what: str) -> None:
    """JSON has each row's own keys; nested columns of a table have those of all rows."""
    rows = [_with(what, {"city": "x"}), _with(what, {"day": 3})]
    (project.root / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declare(project, "a.jsonl", "sft")
    assert len(read(project)) == 2
    pq.write_table(pa.Table.from_pylist(rows), project.root / "a.parquet")
    declare(project, "a.parquet", "sft")
    named = "tools" if what == "tools" else r"messages\[1\]\.tool_calls\[0\]\.arguments"
    with pytest.raises(
        UserError, match=rf"^a\.parquet:1: {named} has a null, .* allowed: calls' arguments, and tools, as"
    ):
        read(project)


def _with(what: str, of: dict[str, object]) -> dict[str, Any]:
    """A conversation with a tool, or a call, that has these."""
    call = {"type": "function", "function": {"name": "f", "arguments": of}}
    answer = {"role": "assistant", "content": "!"} | ({"tool_calls": [call]} if what == "a call" else {})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": of}}}
    return {"messages": [{"role": "user", "content": "?"}, answer]} | ({"tools": [tool]} if what == "tools" else {})


def test_a_special_token_may_not_be_the_key_of_an_argument(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"</s>": 1}}}
    messages: list[dict[str, Any]] = [TALK[0], {"role": "assistant", "content": "", "tool_calls": [call]}]
    with pytest.raises(TemplateError, match="a message has '</s>'"):
        encode([conversation("a", messages, False)], opened(tmp_path, TOOLS), None)


def nothing(path: Path) -> None:
    path.touch()


def twice(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)


def flipped(path: Path) -> None:
    """Pages with checksums, as Spark writes them, and one bit that has changed."""
    texts = pa.table({"text": [f"text number {number}" for number in range(5000)]})
    pq.write_table(texts, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"number 2500")] ^= 1
    path.write_bytes(data)


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an empty Parquet file": ("a.parquet", nothing, r"a\.parquet: empty, and no file of its kind is"),
    "an empty Arrow file": ("a.arrow", nothing, r"a\.arrow: empty, and no file"),
    "an empty gzip file": ("a.jsonl.gz", nothing, r"a\.jsonl\.gz: empty, and no file"),
    "an empty zstandard file": ("a.jsonl.zst", nothing, r"a\.jsonl\.zst: empty, and no file"),
    "two columns of one name": ("a.parquet", twice, r"a\.parquet: 2 columns are called 'text'; allowed: one"),
    "a page that has changed": ("a.parquet", flipped, r"a\.parquet: damaged, or not what its name says"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_beside_a_whole_one_is_named(project: Small, name: str) -> None:
    file, write, message = FILES[name]
    parquet(project.root / "whole.parquet", [{"text": "x"}, {"text": "y"}])
    write(project.root / file)
    declare(project, ["whole.parquet", file])
    with pytest.raises(UserError, match=message):
        read(project)


def test_a_name_that_is_not_utf8_is_refused(project: Small) -> None:
    (project.root / "rows").mkdir()
    with open(os.fsencode(project.root / "rows") + b"/\xff.jsonl", "wb") as file:
        file.write(b'{"text": "a"}\n')
    declare(project, "rows")
    with pytest.raises(UserError, match=r"rows/\\udcff\.jsonl: a name that is not UTF-8"):
        read(project)


def test_a_name_with_a_line_break_is_refused(project: Small) -> None:
    """A message about its rows would be two lines, of which the second says what the name says."""
    (project.root / "rows").mkdir()
    (project.root / "rows/a\nb.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    declare(project, "rows")
    with pytest.raises(UserError, match=r"rows/a\\nb\.jsonl.: a name with a control character"):
        read(project)


def test_a_column_without_a_name_is_no_other_kind(project: Small) -> None:
    (project.root / "a.jsonl").write_text('{"": 1, "b": 2}\n')
    declare(project, "a.jsonl")
    with pytest.raises(
        UserError, match=r"the key 'text' is missing \(found: '', 'b'; `columns: \{text: NAME\}` in its spec"
    ):
        read(project)
