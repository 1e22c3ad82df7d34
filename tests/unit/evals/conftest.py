"""A small world of prepared corpora: text, conversations, questions about digits, image-caption pairs."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.corpus.prepared import contents, write_folder
from stages.data.document import Document, Part, Picture, chat, plain, text_part
from stages.data.tokens import tokenizer, tokenizer_use
from stages.data.tokens.encode import encode
from stages.evals.heldout import Heldout
from stages.spec.schema.corpora import Kind
from stages.store.seal import Shard

TRAINING = 2  # documents of each corpus that are not held out
WORDS = ("zero", "one", "two", "three")


def _text() -> list[Document]:
    lines = [
        " ".join(f"{word} {number}" for word in ("the", "cat", "sat", "on") for number in range(9 + i))
        for i in range(8)
    ]
    return [plain(f"text {i}", line, i >= TRAINING) for i, line in enumerate(lines)]


def _chats() -> list[Document]:
    turns = [(("user", text_part(f"What is {i}?")), ("assistant", text_part("the cat " * (i + 1)))) for i in range(7)]
    return [chat(f"chat {i}", turn, i >= TRAINING) for i, turn in enumerate(turns)]


def _picture(number: int) -> Picture:
    pixels = np.full((8, 8 * (1 + number % 2)), 20 * number, dtype=np.uint8)
    return Picture(pixels, (number % 4,))


def _questions() -> list[Document]:
    made = []
    for i in range(10):
        asked = (Part(_picture(i), False), Part("Which digit is this?", True))
        turns = (("user", asked), ("assistant", text_part(WORDS[i % 4])))
        made.append(chat(f"question {i}", turns, i >= TRAINING))
    return made


def _pairs() -> list[Document]:
    captions = [(Part(_picture(i), False), Part(f"a small {WORDS[i % 4]}", True)) for i in range(12)]
    return [Document(f"pair {i}", parts, i >= TRAINING) for i, parts in enumerate(captions)]


def _preferences() -> list[Document]:
    made = []
    for i in range(9):
        said = ("the cat " * (i + 1), "one two three")
        chosen, rejected = (
            chat(f"{i} {text}", (("user", text_part(f"What is {i}?")), ("assistant", text_part(text))), i >= TRAINING)
            for text in said
        )
        made.append(replace(chosen, rejected=rejected))
    return made


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("data"))


def _manifest(fields: dict[str, Any], shards: list[Shard]) -> DataManifest:
    return DataManifest(**fields, shards=shards)


def build(root: Path) -> Path:
    """The corpora and their tokenizer, under `root`."""
    (root / "tokenizer").mkdir()
    trained = tokenizer.train(["the cat sat on zero one two three a small assistant", "user What is Which digit"], 290)
    (root / "tokenizer" / tokenizer_use.FILE).write_text(trained.to_str())
    words = tokenizer.Tokenizer(root / "tokenizer" / tokenizer_use.FILE)
    corpora: tuple[tuple[str, Kind, list[Document]], ...] = (
        ("text", "text", _text()), ("chats", "sft", _chats()),
        ("questions", "multimodal", _questions()), ("pairs", "pairs", _pairs()),
        ("preferences", "preference", _preferences()),
    )  # fmt: skip
    for name, kind, documents in corpora:
        encoded = encode(documents, words, 8 if kind == "multimodal" else None)
        size = TRAINING if kind == "pairs" else int(encoded.lengths[:TRAINING].sum())
        cell, patch, channels = (8, 4, 3) if kind in ("multimodal", "pairs") else (0, 0, 0)
        fields: dict[str, Any] = {
            "schema_version": 1, "corpus": name, "kind": kind, "tokenizer": "0" * 64, "size": size,
            "documents": TRAINING, "longest": int(encoded.lengths.max()), "heldout": len(documents) - TRAINING,
            "cell": cell, "patch": patch, "channels": channels, "digest": "0" * 64,
        }  # fmt: skip
        write_folder(root / name, contents(encoded, kind), partial(_manifest, fields))
    return root


@pytest.fixture
def heldout(data_root: Path) -> Heldout:
    return Heldout(data_root)
