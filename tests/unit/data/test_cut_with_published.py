"""Corpora that are cut with a published tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stages.data.corpus.prepared import Corpus
from stages.data.preparing import prepare
from stages.data.tokens import tokenizer_files
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.spec.resolved_phases import Source
from tests.unit.data.published import declare
from tests.unit.data.small import ZERO, Small, load, phase, write_spec


def test_a_corpus_keeps_its_tokenizer_and_is_read_by_its_roles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, monkeypatch, capsys, size=70_000)
    rows = "\n".join(f'{{"text": "the cat sat on mat {number}"}}' for number in range(60))
    (tmp_path / "mine.jsonl").write_text(rows)
    write_spec(tmp_path, "notes", {
        "corpus": "notes", "kind": "text", "unit": "tokens", "builder": "file", "path": "mine.jsonl",
        "tokenizer": "mine", "digest": ZERO, "size": 0, "documents": 0, "longest": 0, "heldout": 0,
    })  # fmt: skip
    made = prepare.prepare(tmp_path, "notes", tmp_path / "data" / "notes", accept=True)
    spec = tokenizer_files.load(tmp_path, "mine")
    assert made.tokenizer == spec.digest
    assert {shard.file for shard in made.shards} == {"tokens.bin", "tokens.idx", "tokenizer.json", "tokenizer_use.json"}
    corpus, words = Corpus(tmp_path / "data" / "notes"), Heldout(tmp_path / "data").tokenizer("notes")
    assert corpus.tokens[:].dtype == np.int32
    assert words.decode(corpus.tokens[: corpus.offsets[1]]).startswith("<s>the cat sat on mat")
    assert corpus.roles == words.roles == declared(tmp_path, spec).roles
    source = Source(corpus="notes", group="text", weight=1, start=0, end=made.size, digest=made.digest, kind="text")
    [row] = load(Small(tmp_path, tmp_path / "data"), phase(source, packing="whole", context=64, budget=64)).samples(
        0, 1, 0
    )
    assert row.tokens[row.segments < 0].tolist() == [words.roles.pad] * int((row.segments < 0).sum()) != []
    assert (row.image, row.fill) == (words.roles.image, words.roles.pad)


def test_a_users_conversations_are_prepared_by_the_template_and_a_row_that_it_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, monkeypatch, capsys)
    rows = [[{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]
            for n in range(60)]  # fmt: skip
    lines = [json.dumps({"messages": row}) for row in rows]
    write_spec(tmp_path, "talks", {
        "corpus": "talks", "kind": "sft", "unit": "tokens", "builder": "file", "path": "talks.jsonl",
        "tokenizer": "mine", "digest": ZERO, "size": 0, "documents": 0, "longest": 0, "heldout": 0,
    })  # fmt: skip
    (tmp_path / "talks.jsonl").write_text("\n".join(lines))
    made = prepare.prepare(tmp_path, "talks", tmp_path / "data" / "talks", accept=True)
    heldout = Heldout(tmp_path / "data")
    words, corpus = heldout.tokenizer("talks"), heldout.corpus("talks")
    tokens, learned = heldout.tokens("talks", 0), heldout.supervised("talks", 0)
    assert words.decode(tokens[learned]).startswith("It is ")
    assert words.decode(tokens[learned]).endswith(".<|im_end|>")
    assert words.decode(tokens[~learned]).startswith("<s><|im_start|>user\nWhat is ")
    assert corpus.documents == made.documents + made.heldout == 60
    lines[40] = json.dumps({"messages": [rows[0][0], {"role": "assistant", "content": "over<|im_end|>"}]})
    (tmp_path / "talks.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"^talks.jsonl:41: a message has '<\|im_end\|>', which is a special token"):
        prepare.prepare(tmp_path, "talks", tmp_path / "data" / "talks", accept=True)
