"""A corpus's file that is cut while it is read: a message, where reading a map beyond its file ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.data.corpus import mmidx, offsets
from stages.data.corpus.adopted import ORDER
from stages.data.corpus.prepared import Corpus
from stages.errors import UserError
from tests.unit.data.adopted_tokens import DOCUMENTS, accept, declare, root, write
from tests.unit.data.small import Small

__all__ = ["root"]

READ = """
import os, sys
from pathlib import Path
from stages.data.corpus.prepared import Corpus
from stages.errors import UserError
corpus, cut, part = Corpus(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
read = corpus.raw_picture if part == "pictures" else lambda at: getattr(corpus, part)[at : at + 4].copy()
read(0)
os.truncate(cut, 0)
try:
    read(0)
except UserError as error:
    print(error)
"""


def cut(folder: Path, path: Path, part: str) -> str:
    words = [sys.executable, "-c", READ, str(folder), str(path), part]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


PARTS = [
    ("math", "tokens.bin", "tokens"),
    ("reasoning", "mask.bin", "supervised"),
    ("captions", "images.bin", "pictures"),
]


@pytest.mark.parametrize(("name", "file", "part"), PARTS)
def test_a_prepared_file_that_is_cut_is_named_with_both_sizes(
    small: Small, tmp_path: Path, name: str, file: str, part: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for one in (small.data / name).iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    size = (folder / file).stat().st_size
    said = cut(folder, folder / file, part)
    assert said.startswith(f"{folder / file}: was cut while it was read: 0 of {size:,} bytes are left. Put back")


@pytest.mark.parametrize("name", ["lake/a.bin", f"results/mini/data/mine/{ORDER}"])
def test_an_adopted_file_and_its_order_too(root: Path, name: str) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    accept(root)
    said = cut(root / "results/mini/data/mine", root / name, "tokens")
    assert said.startswith(f"{root / name}: was cut while it was read: 0 of ")


def test_a_file_that_is_gone_or_replaced_by_a_shorter_one_is_read_as_it_was(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    accept(root)
    corpus = Corpus(root / "results/mini/data/mine")
    before = corpus.tokens[0:9].tolist()
    (root / "other").write_bytes(b"")
    (root / "other").rename(root / "lake/a.bin")
    assert corpus.tokens[0:9].tolist() == before
    (root / "lake/a.bin").unlink()
    assert corpus.tokens[0:9].tolist() == before


def test_where_documents_begin_is_checked_too_where_it_is_read_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offsets, "MAX_ARRAY", 1)
    (tmp_path / "a.bin").write_bytes(np.arange(6, dtype="<u2").tobytes())
    (tmp_path / "a.idx").write_bytes(mmidx.index_bytes(np.array([2, 4]), np.dtype("<u2")))
    found = mmidx.read(tmp_path / "a").offsets
    assert found[1] == 2
    os.truncate(tmp_path / "a.idx", 40)
    with pytest.raises(UserError, match=r"a\.idx: was cut while it was read"):
        found[1]
