"""A project that takes in somebody's Qwen3 with its own tokenizer, trains it further, and tunes it on answers."""

from __future__ import annotations

import json
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import yaml

from stages.commands.run import run_stage
from stages.commands.tokenizer import print_declaration as declare_tokenizer
from stages.data.tokens.tokenizer_declared import declared
from stages.data.tokens.tokenizer_files import load
from stages.models import release_files
from tests.agreement import project as agreement
from tests.agreement.specs import SPECS as TOY
from tests.agreement.specs import TRAIN, phase
from tests.edits import replaced
from tests.unit.data import published
from tests.unit.data.small import ZERO, write_spec

ROPE = "rope: {base: 1_000_000, llama3: none, interpolation: 1}\n"
PARENT = "{{from: {0}, weights: inherit, optimizer: reset, clock: reset, data: restart}}"
STAGES = ("base", "more", "tuned", "given")
SPECS = {
    "mine/base.yaml": "stage: base\nbox: base\nkind: import\nmodules: {llm: qwen}\nrelease: qwen\nmax_context: 128\n"
    + ROPE + "evaluate: [validation_loss, position_loss]\n"
    + "evaluate_on: {data: notes, context: 64, document_mask: true}\n"
    + 'sources:\n  - {covers: ["*"], mark: chosen}\n',
    "mine/more.yaml": TRAIN.format(
        name="more", modules="{llm: qwen}", train="llm", init=PARENT.format("base"), rope=ROPE,
        phases=phase("main", "next_token", "2K", "notes", ""),
    ),
    "mine/tuned.yaml": TRAIN.format(
        name="tuned", modules="{llm: qwen}", train="llm", init=PARENT.format("more"), rope=ROPE,
        phases=phase("main", "sft", "2K", "chats", "", context=128, packing="whole"),
    ),
    "mine/given.yaml": "stage: given\nbox: given\nkind: export\ninit: {from: tuned}\nsources: []\n",
    "data/published.yaml": "corpora: {}\n",
    "data/mixtures.yaml": """\
mixtures:
  notes: {sources: [{corpus: notes, share: 100%, group: text}]}
  chats: {sources: [{corpus: chats, share: 100%, group: text}]}
sources:
  - {covers: ["*"], mark: chosen}
""",
    "scales/mini.yaml": replaced(TOY["scales/mini.yaml"], "releases: stand_in", "releases: given"),
}  # fmt: skip
PIPELINE = """\
pipeline: mine
title: Mine
citation: none
figure: none
tokenizer: mine
claims: []
models:
  qwen: {{family: qwen3, layers: 2, hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8, vocab: {vocab},
         norm_eps: 1e-6, tied: false, init_std: 0.02}}
optimizers:
  adamw: {{kind: adamw, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: matrices, clip: 1.0}}
schedules:
  more: [{{shape: constant, from: 1e-3, until: 2K}}]
  tuned: [{{shape: constant, from: 1e-3, until: 2K}}]
stages: [base, more, tuned, given]
sources:
  - {{covers: ["*"], mark: chosen}}
"""


def write(root: Path) -> Path:
    """The project with all its stages done; its release lies in releases/qwen."""
    for name, text in SPECS.items():
        place = root / "specs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    published.write(root)
    said = StringIO()
    with chdir(root), redirect_stdout(said):
        declare_tokenizer("mine")
    path = root / "specs/tokenizers/mine.yaml"
    path.write_text(path.read_text() + said.getvalue())
    vocab = declared(root, load(root, "mine")).open().vocab
    (root / "specs/mine/pipeline.yaml").write_text(PIPELINE.format(vocab=vocab))
    _release(root, vocab)
    _corpora(root)
    with chdir(root):
        for stage in STAGES:
            run_stage(f"mine/{stage}", "mini", root / "releases")
    return root


def _release(root: Path, vocab: int) -> None:
    """Qwen3 with random weights, as transformers saves it, and its declaration."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-6, rope_theta=1_000_000.0, max_position_embeddings=128,
        tie_word_embeddings=False, use_sliding_window=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3ForCausalLM(config).save_pretrained(root / "releases/qwen")
    spec = {
        "release": "qwen", "source": "somebody/qwen", "revision": "1", "licence": "apache-2.0",
        "architecture": "Qwen3ForCausalLM", "digest": release_files.digest(root / "releases/qwen"),
    }  # fmt: skip
    place = root / "specs/releases/qwen.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(yaml.safe_dump(spec))


def _corpora(root: Path) -> None:
    (root / "data").mkdir()
    notes = "\n\n".join(f"Note {n}: the cat sat on the mat {n} times and said hello." for n in range(400))
    (root / "data/notes.txt").write_text(notes)
    chats = [{"messages": _chat(number)} for number in range(300)]
    (root / "data/chats.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in chats))
    local: dict[str, Any] = {
        "tokenizer": "local",
        "vocab": 300,
        "digest": ZERO,
        "corpora": ["notes"],
        "characters": 4000,
    }
    write_spec(root, "tokenizer", local)
    for name, kind, file in (("notes", "text", "notes.txt"), ("chats", "sft", "chats.jsonl")):
        own = {"corpus": name, "kind": kind, "unit": "tokens", "builder": "file", "path": f"data/{file}"}
        write_spec(root, name, {**own, "tokenizer": "mine"})
        agreement.declare(root, name, root / "results/mini/data" / name)


def _chat(number: int) -> list[dict[str, str]]:
    asked, said = f"What is {number} + 2?", f"It is {number + 2}."
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
