"""A text that says where its row's pictures are, in a corpus without pictures: refused in every format and shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.data.files import tables
from stages.errors import UserError
from tests.unit.data.files_of_users import FORMATS, declare, parquet, pq, read
from tests.unit.data.small import Small

ASKED = "<image>\nWhat is it?"
# Shape -> kind of the corpus, and a row of it whose text has the mark.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("text", {"text": ASKED}),
    "messages": (
        "sft",
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "one"}]},
    ),
    "sharegpt": ("sft", {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "one"}]}),
    "alpaca": ("sft", {"instruction": ASKED, "input": "", "output": "one"}),
    "prompt_completion": ("sft", {"prompt": ASKED, "completion": "one"}),
    "pairs": ("preference", {"prompt": ASKED, "chosen": "one", "rejected": "two"}),
}
# As data sets have them: paths, and datasets' pictures with their bytes.
PICTURES: dict[str, dict[str, Any]] = {
    "a path": {"image": "1.png"},
    "paths": {"images": ["1.png", "2.png"]},
    "a picture": {"image": {"bytes": b"\x89PNG" * 99, "path": None}},
    "pictures": {"images": [{"bytes": b"\x89PNG" * 99, "path": "1.png"}]},
    "bytes": {"image": b"\x89PNG" * 99},
}
NONE: dict[str, Any] = {"a path": "", "paths": [], "a picture": None, "pictures": [], "bytes": None}


def declared(project: Small, shape: str, name: str) -> None:
    kind, rows = SHAPES[shape][0], {"pairs": "prompt_completion"}.get(shape, shape)
    declare(project, name, kind, **({} if shape == "text" else {"rows": rows}))


def written(project: Small, shape: str, name: str, beside: list[dict[str, Any]]) -> Path:
    """Rows that differ, each with something beside it."""
    path = project.root / name
    FORMATS[name](path, [{**SHAPES[shape][1], **one, "id": number} for number, one in enumerate(beside)])
    declared(project, shape, name)
    return path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_it_is_refused_in_every_format_and_shape(project: Small, name: str, shape: str) -> None:
    written(project, shape, name, [PICTURES["paths"]] * 3)
    with pytest.raises(
        UserError, match=r":1: (chosen: )?<image> in the text, and pictures in 'images', which this kind does not"
    ):
        read(project)


@pytest.mark.parametrize("pictures", PICTURES)
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "b.arrow"])
def test_a_table_s_row_without_pictures_is_read(project: Small, name: str, pictures: str) -> None:
    (column,) = PICTURES[pictures]
    written(project, "messages", name, [{column: NONE[pictures]}, PICTURES[pictures], {column: NONE[pictures]}])
    with pytest.raises(UserError, match=rf"^{name}:2: <image> in the text"):
        read(project)
    declare(project, name, "sft", rows="messages", on_bad_row={"skip": 1})
    assert len(read(project)) == 2


def test_of_pictures_in_parquet_the_bytes_are_not_read(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "no mark", "images": [{"bytes": b"\x89PNG" * 999, "path": "1.png"}]}] * 3
    parquet(project.root / "a.parquet", rows)
    declare(project, "a.parquet")
    asked: list[list[str]] = []
    iterate = pq.ParquetFile.iter_batches

    def noted(self: Any, *words: Any, columns: list[str], **more: Any) -> Any:
        asked.append(columns)
        return iterate(self, *words, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    assert len(read(project)) == 3
    assert asked == [["text", "images.list.element.path"]]
    monkeypatch.setattr(tables, "PAGE", 2000)
    assert len(read(project)) == 3, "a large page of what is not read is allowed"
