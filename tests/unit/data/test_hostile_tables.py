"""Tables as other programs write them: strings of every type are text, other values are bad rows, damage is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data.files import tables
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.data.files_of_users import declare, jsonl, read
from tests.unit.data.small import Small

pa = pytest.importorskip("pyarrow", reason="tables are read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ipc = pytest.importorskip("pyarrow.ipc")

Write = Callable[[Path, Any], None]
TEXTS = ["one two", "three é", "four\nfive", "nul \0 inside"]


def table(texts: Any) -> Any:
    return pa.table({"text": texts, "other": [{"text": "not this one"}] * len(texts)})


def parquet(path: Path, texts: Any) -> None:
    pq.write_table(table(texts), path)


def arrow(path: Path, texts: Any) -> None:
    with pa.OSFile(str(path), "wb") as out, ipc.new_file(out, table(texts).schema) as writer:
        writer.write_table(table(texts))


def stream(path: Path, texts: Any) -> None:
    with pa.OSFile(str(path), "wb") as out, ipc.new_stream(out, table(texts).schema) as writer:
        writer.write_table(table(texts))


WRITERS: dict[str, tuple[str, Write]] = {
    "parquet": ("a.parquet", parquet),
    "arrow": ("a.arrow", arrow),
    "stream": ("a.arrow", stream),
}
STRINGS: dict[str, Callable[[], Any]] = {
    "string": lambda: pa.array(TEXTS),
    "large_string": lambda: pa.array(TEXTS, pa.large_string()),
    "string_view": lambda: pa.array(TEXTS, pa.string_view()),
    "dictionary": lambda: pa.array(TEXTS).dictionary_encode(),
}


def wrong_bytes() -> Any:
    offsets, data = np.array([0, 1, 3], dtype="<i4").tobytes(), b"a\xff\xfe"
    return pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def long() -> Any:
    return pa.array(["short", "x" * (tables.LONGEST + 1)])


VALUES: dict[str, tuple[Callable[[], Any], str]] = {
    "a null": (lambda: pa.array(["a", None]), "text is null instead of a string"),
    "a null of a dictionary": (lambda: pa.array(["a", None]).dictionary_encode(), "text is null"),
    "bytes that are not UTF-8": (wrong_bytes, "not UTF-8; allowed: text in UTF-8"),
    "a row that is too long": (long, "a row of more than 16,777,216 bytes"),
}
COLUMNS: dict[str, tuple[Callable[[], Any], str]] = {
    "no type": (lambda: pa.nulls(2), "text is null instead of a string"),
    "bytes": (lambda: pa.array([b"a", b"b"]), "text is a value of type bytes instead of a string"),
    "whole numbers": (lambda: pa.array([1, 2]), "text is a number instead of a string"),
    "decimals": (lambda: pa.array([Decimal("1.5")] * 2), "text is a value of type Decimal instead of a string"),
    "lists of strings": (lambda: pa.array([["a"], ["b"]]), "text is a list instead of a string"),
    "structs": (lambda: pa.array([{"a": "x"}] * 2), "text is an object instead of a string"),
}


def said(project: Small) -> list[str]:
    return sorted(str(document.parts[0].content) for document in read(project))


@pytest.mark.parametrize("kind", STRINGS)
@pytest.mark.parametrize("writer", WRITERS)
def test_strings_of_any_type_are_the_same_text(project: Small, writer: str, kind: str) -> None:
    name, write = WRITERS[writer]
    write(project.root / name, STRINGS[kind]())
    declare(project, name)
    assert said(project) == sorted(TEXTS)


@pytest.mark.parametrize("case", [*VALUES, *COLUMNS])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_row_that_is_no_text_is_named(project: Small, writer: str, case: str) -> None:
    name, write = WRITERS[writer]
    values, why = (VALUES | COLUMNS)[case]
    write(project.root / name, values())
    declare(project, name)
    with pytest.raises(UserError, match=rf"^{name}:{2 if case in VALUES else 1}: {why}"):
        read(project)


def test_a_bad_row_of_a_table_may_be_left_out(project: Small) -> None:
    texts = pa.concat_arrays([pa.array([f"text {number}" for number in range(300)]), wrong_bytes(), long()])
    parquet(project.root / "a.parquet", texts)
    declare(project, "a.parquet", on_bad_row={"skip": 2})
    assert said(project) == sorted([f"text {number}" for number in range(300)] + ["a", "short"])


@pytest.mark.parametrize("offsets", [(0, 2, 1 << 30, 5), (0, 2, 4, 1 << 30), (0, 2, -9, 5)])
def test_an_arrow_file_that_points_out_of_its_buffers_is_damaged(project: Small, offsets: tuple[int, ...]) -> None:
    """If its offsets were not checked, other memory of the process would be read, or the process would be killed."""
    arrow(project.root / "a.arrow", pa.array(["ab", "cd", "e"]))
    data = (project.root / "a.arrow").read_bytes()
    true, false = (np.array(some, dtype="<i4").tobytes() for some in ((0, 2, 4, 5), offsets))
    assert data.count(true) == 1
    (project.root / "a.arrow").write_bytes(replaced(data, true, false))
    declare(project, "a.arrow")
    with pytest.raises(UserError, match=r"^a\.arrow: damaged, or not what its name says"):
        read(project)


def test_a_number_out_of_its_dictionary_is_damage(project: Small) -> None:
    numbers = pa.array([0, 1, 99_999_999], pa.int32())
    arrow(project.root / "a.arrow", pa.DictionaryArray.from_arrays(numbers, pa.array(["a", "b"]), safe=False))
    declare(project, "a.arrow", on_bad_row={"skip": 9})
    with pytest.raises(UserError, match=r"^a\.arrow: damaged, or not what its name says"):
        read(project)


def test_a_column_that_one_of_several_files_lacks_is_named_with_the_file(project: Small) -> None:
    parquet(project.root / "a.parquet", pa.array(TEXTS))
    pq.write_table(pa.table({"body": TEXTS}), project.root / "b.parquet")
    declare(project, ["a.parquet", "b.parquet"])
    with pytest.raises(UserError, match=r"^b\.parquet: no column 'text'; found: 'body'"):
        read(project)


def test_a_table_without_a_needed_column_is_refused_and_says_whose_columns_it_has(project: Small) -> None:
    pq.write_table(pa.table({"prompt": TEXTS, "chosen": TEXTS, "rejected": TEXTS}), project.root / "a.parquet")
    declare(project, "a.parquet", "sft", rows="prompt_completion", on_bad_row={"skip": 9})
    with pytest.raises(
        UserError,
        match=r"^a\.parquet: no column 'completion'; found: 'prompt', 'chosen', 'rejected', as kind preference with ",
    ):
        read(project)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("content", pa.array(TEXTS), r"found: 'content'\. Name what is meant .* as `columns: \{text: NAME\}`"),
        ("content", pa.array([TEXTS]), "as builder pictures with rows: interleaved has them"),
        ("messages", pa.array([[{"role": "user"}]], pa.large_list(pa.map_(pa.string(), pa.string()))), "kind sft has"),
    ],
)
def test_what_a_table_without_text_has_is_told_by_the_types_of_its_columns(
    project: Small, column: str, values: Any, said: str
) -> None:
    pq.write_table(pa.table({column: values}), project.root / "a.parquet")
    declare(project, "a.parquet")
    with pytest.raises(UserError, match=rf"^a\.parquet: no column 'text'; .*{said}"):
        read(project)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_file_that_a_pattern_finds_by_two_names_is_refused(project: Small, link: Callable[..., None]) -> None:
    jsonl(project.root / "a.jsonl", [{"text": text} for text in TEXTS])
    link(project.root / "a.jsonl", project.root / "b.jsonl")
    declare(project, "*.jsonl")
    with pytest.raises(UserError, match=r"path: \*\.jsonl: b\.jsonl is a\.jsonl, which is read already"):
        read(project)


def test_a_link_that_leads_nowhere_is_no_file_less(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [{"text": text} for text in TEXTS])
    (project.root / "b.jsonl").symlink_to("gone.jsonl")
    declare(project, "*.jsonl")
    with pytest.raises(UserError, match=r"path: \*\.jsonl: b\.jsonl: a link that leads nowhere"):
        read(project)
