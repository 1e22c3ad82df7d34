"""Megatron datasets in a project, for the tests of corpora that adopt them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.data.corpus import mmidx
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.corpus.prepared import Corpus
from stages.data.preparing import measured, prepare
from stages.data.tokens import tokenizer_files
from stages.data.tokens.tokenizer_declared import declared
from tests.unit.data import published
from tests.unit.data.small import write_spec

BOS, EOS, IMAGE, VOCAB = 300, 301, 304, 307
DOCUMENTS = [[BOS, *range(5 + number, 9 + 2 * number), EOS] for number in range(40)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a tokenizer of 307 ids, declared."""
    published.write(tmp_path)
    accepted = declared(tmp_path, tokenizer_files.load(tmp_path, "mine", declared=False), check=False)
    assert accepted.open().vocab == VOCAB
    published.write(tmp_path, digest=accepted.digest, vocab=VOCAB)
    assert (accepted.open().roles.bos, accepted.open().roles.eos, accepted.open().roles.image) == (BOS, EOS, IMAGE)
    return tmp_path


def write(prefix: Path, documents: list[list[int]], dtype: str = "<u2") -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    flat = [token for document in documents for token in document]
    lengths = np.array([len(one) for one in documents], dtype=np.int64)
    prefix.with_name(prefix.name + ".bin").write_bytes(np.array(flat, dtype=dtype).tobytes())
    prefix.with_name(prefix.name + ".idx").write_bytes(mmidx.index_bytes(lengths, np.dtype(dtype)))


def declare(project: Path, prefix: object = "lake/a", **more: object) -> None:
    content = {"corpus": "mine", "kind": "text", "unit": "tokens", "builder": "megatron", "tokenizer": "mine"}
    write_spec(project, "mine", {**content, "prefix": prefix, **more})


def run(root: Path) -> DataManifest:
    return prepare.prepare(root, "mine", root / "results/mini/data/mine", accept=True)


def accept(root: Path) -> DataManifest:
    """Prepare, and put what came out into the spec."""
    made = run(root)
    path = root / "specs/data/mine.yaml"
    path.write_text(path.read_text() + measured.declaration(made))
    return made


def read(root: Path) -> list[list[int]]:
    corpus = Corpus(root / "results/mini/data/mine")
    pairs = pairwise(corpus.offsets[:])
    return [corpus.tokens[int(start) : int(end)].tolist() for start, end in pairs]
