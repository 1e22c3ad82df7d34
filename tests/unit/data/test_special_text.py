"""Words of special tokens are looked for in the first documents, one after the other: rows have up to 16 MiB each."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

from stages.data import spec
from stages.data.files import special_text
from tests.unit.data.files_of_users import declare
from tests.unit.data.small import build


def test_long_documents_are_not_in_memory_together(tmp_path: Path) -> None:
    small, row = build(tmp_path), json.dumps({"text": "a" * (1 << 20) + special_text.BETWEEN})
    (tmp_path / "a.jsonl").write_text(f"{row}\n" * 30)
    declare(small, "a.jsonl")
    declared = spec.load(tmp_path, "mine", declared=False)
    tracemalloc.start()
    try:
        said = special_text.said(tmp_path, declared, ["<eos>"])
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
    assert said.startswith("30 of the first 30 documents have '<|endoftext|>' in their text")
