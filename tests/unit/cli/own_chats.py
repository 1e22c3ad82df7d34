"""A project that fine-tunes on a file of conversations, some of them longer than the context, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stages.commands.data import print_declaration
from stages.data.preparing.measured import declaration
from stages.data.preparing.prepare import prepare as prepare_corpus
from tests.unit.data.small import ZERO, spec, write_spec
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit
from tests.unit.spec.tuning import tuned

OWN = "corpus: chats\nkind: sft\nunit: tokens\nbuilder: file\npath: data/chats.jsonl\n"
SCALE = "paper"  # the small project's full-size scale, brought down to a CPU


def write(root: Path, budget: str, short: int, long: int) -> None:
    """A stage `toy/first` of rows of 128 tokens, over `short` conversations of some 40 and `long` ones of some 200."""
    tuned(small_project.write(root), budget, longest=1, rows=0, tokens=0)
    for old, new in (
        ("device: cuda", "device: cpu"), ("engine_class: torch-bf16", "engine_class: torch-fp32"),
        ("threads: 8", "threads: 1"), ("ranks: 8", "ranks: 1"), ("memory: 100 GB", "memory: 2 GB"),
        ("releases: given", "releases: stand_in\nvocab: 300"),
    ):  # fmt: skip
        edit(root, "scales/paper.yaml", old, new)
    edit(
        root,
        "toy/pipeline.yaml",
        "layers: 2, hidden: 64, ffn: 128, heads: 4",
        "layers: 1, hidden: 16, ffn: 16, heads: 2",
    )
    edit(root, "toy/pipeline.yaml", "head_dim: 16", "head_dim: 8")
    _tokenizer(root)
    (root / "data").mkdir()
    rows = [_chat(number, 3 if number < short else 60) for number in range(short + long)]
    (root / "data/chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "specs/data/chats.yaml").write_text(OWN)


def accept(root: Path, capsys: pytest.CaptureFixture[str], measured: bool = True) -> None:
    """`stages data chats --accept >> specs/data/chats.yaml`; without `measured`, without `packed`."""
    capsys.readouterr()
    print_declaration("chats")
    said = capsys.readouterr().out
    declared = said if measured else said.partition("packed:")[0]
    (root / "specs/data/chats.yaml").write_text(OWN + declared)


def _chat(number: int, words: int) -> dict[str, object]:
    said = f"{number} + {number} = {2 * number}. " + "so it is " * (words // 3)
    return {"messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": said}]}


def _tokenizer(root: Path) -> None:
    write_spec(root, "math", spec("math"))
    words = {"tokenizer": "test", "vocab": 300, "digest": ZERO, "corpora": ["math"], "characters": 4000}
    write_spec(root, "tokenizer", words)
    made = prepare_corpus(root, "tokenizer", root / "elsewhere" / "tokenizer", accept=True)
    write_spec(root, "tokenizer", {**words, **yaml.safe_load(declaration(made))})
    for name in ("prose", "code"):  # the toy's other mixtures name them; nothing reads them here
        edit(root, f"data/{name}.yaml", "size: ", "size: 1")
        edit(root, f"data/{name}.yaml", "documents: ", "documents: 9")
