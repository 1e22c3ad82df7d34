"""Rows to prepare in many small pieces, for the tests of streaming preparation."""

from __future__ import annotations

import json
import random

from stages.data import spec
from stages.data.corpus import prepared
from stages.data.files import user
from stages.data.preparing import prepare
from stages.data.tokens.encode import encode
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from tests.unit.data.own_files import declare
from tests.unit.data.small import Small

WORDS = ["the", "sum", "of", "two", "numbers", "is", "never less", "than\n", "them\u2028", "<eos>", "\U0001f600"]


def rows(count: int, seed: int = 1) -> list[str]:
    """Lines of JSON of many lengths; every seventh is one of a few that come again and again."""
    draw = random.Random(seed)
    texts = (" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) + f" {number}" for number in range(count))
    again = (f"again {number % 3}" if number % 7 == 0 else text for number, text in enumerate(texts))
    return [json.dumps({"text": text}) for text in again]


def write(project: Small, lines: list[str], name: str = "rows.jsonl") -> None:
    (project.root / name).write_text("\n".join(lines) + "\n")
    declare(project, name)


def held(project: Small) -> dict[str, bytes]:
    folder = project.data / "mine"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".bin", ".idx")}


def in_memory(project: Small) -> dict[str, bytes]:
    """What sorting all documents at once gives."""
    corpus = spec.load(project.root, "mine", declared=False)
    made, _ = prepare.in_order("mine", user.documents(project.root, corpus))
    return prepared.contents(encode(made, Tokenizer(project.data / "tokenizer" / FILE), None), corpus.kind)
