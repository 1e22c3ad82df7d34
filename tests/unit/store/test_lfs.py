"""What a clone without Git LFS has in place of a large file is named, and never read as what it stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.data import spec
from stages.data.files import inputs
from stages.data.tokens import tokenizer_files
from stages.errors import UserError
from stages.models import release_files
from stages.store import lfs
from tests.unit.data import published
from tests.unit.data.small import write_spec

POINTER = lfs.BEGINS + b"oid sha256:" + b"0" * 64 + b"\nsize 123456\n"


def corpus(root: Path, name: str) -> None:
    (root / name).write_bytes(POINTER)
    own = {"corpus": "mine", "kind": "text", "unit": "tokens", "builder": "file", "path": name}
    write_spec(root, "mine", own)
    inputs.find(root, spec.load(root, "mine", declared=False))


def tokens(root: Path, name: str) -> None:
    published.write(root)
    (root / "tokenizers/mine" / name).write_bytes(POINTER)
    tokenizer_files.read(root, tokenizer_files.load(root, "mine", declared=False))


def release(root: Path, name: str) -> None:
    for one in ("config.json", "model.safetensors"):
        (root / one).write_bytes(POINTER if one == name else b"{}")
    release_files.digest(root)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.jsonl", corpus),
        ("a.jsonl.gz", corpus),
        ("a.parquet", corpus),
        ("a.txt", corpus),
        ("tokenizer.json", tokens),
        ("model.safetensors", release),
        ("config.json", release),
    ],
)
def test_a_pointer_is_refused_wherever_large_files_are_read(
    tmp_path: Path, name: str, read: Callable[[Path, str], None]
) -> None:
    with pytest.raises(UserError, match=rf"{name}: a pointer of Git LFS, not the file itself. Fetch it: `git"):
        read(tmp_path, name)


def test_a_text_about_pointers_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in (b"", b" " + POINTER, POINTER + b"x" * lfs.LONGEST):
        path.write_bytes(content)
        lfs.refuse(path, "a.txt", len(content))
