"""A small good project: two stages that share a schedule, a full-size scale and a shrunk one."""

from __future__ import annotations

from pathlib import Path

from tests import edits

FILES = {
    "toy/pipeline.yaml": """\
pipeline: toy
title: A toy
citation: none
figure: none
tokenizer: toy/tokenizer
claims:
  - {what: everything, tokens: 4B, lineage: second}
models:
  small: {family: llama, layers: 2, hidden: 64, ffn: 128, heads: 4, kv_heads: 2, head_dim: 16, vocab: 512,
          norm_eps: 1e-5, tied: false, init_std: 0.02}
optimizers:
  adamw: {kind: adamw, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: matrices, clip: 1.0}
schedules:
  main:
    - {shape: linear, from: 0, to: 1e-3, for: 100 steps}
    - {shape: cosine, to: 1e-4, until: 4B}
  other:
    - {shape: constant, from: current, until: 4B}
stages: [first, second, release]
sources:
  - {covers: ["*"], mark: chosen}
""",
    "toy/first.yaml": """\
stage: first
box: First
kind: train
modules: {llm: small}
train: [llm]
frozen: []
init:
  weights: fresh
  optimizer: reset
  clock: reset
  data: restart
schedule: main
optimizer: adamw
rope: {base: 10_000, llama3: none, interpolation: 1}
phases:
  - name: short
    objective: next_token
    unit: tokens
    budget: 1B
    context: 4Ki
    batch: [{after: 0, batch: 64 seq}, {after: 0.5B, batch: 128 seq}]
    micro_batch: 1 seq
    epochs: 1
    document_mask: true
    packing: concatenate
    data: web
  - name: long
    objective: next_token
    unit: tokens
    budget: 1B
    context: 8Ki
    batch: 64 seq
    micro_batch: 1 seq
    epochs: 1
    document_mask: true
    packing: concatenate
    data: web
evaluate: [validation_loss]
execution: {nodes: 2}
sources:
  - {covers: [phases.short.budget], mark: published, citation: a table}
  - {covers: ["*"], mark: chosen}
""",
    "toy/second.yaml": """\
stage: second
box: Second
kind: train
modules: {llm: small}
train: [llm]
frozen: []
init:
  from: first
  weights: inherit
  optimizer: inherit
  clock: continue
  data: continue
schedule: main
optimizer: adamw
rope: {base: 10_000, llama3: none, interpolation: 1}
phases:
  - name: main
    objective: next_token
    unit: tokens
    budget: 2B
    context: 8Ki
    batch: 64 seq
    micro_batch: 1 seq
    epochs: 1
    document_mask: true
    packing: concatenate
    data: web
sources:
  - {covers: ["*"], mark: chosen}
""",
    "toy/release.yaml": "stage: release\nbox: Release\nkind: export\ninit: {from: second}\n",
    "toy_variant/pipeline.yaml": """\
pipeline: toy_variant
title: A toy, read otherwise
citation: none
figure: none
extends: toy
""",
    "toy_variant/second.yaml": """\
stage: second
phases:
  - name: main
    objective: next_token
    unit: tokens
    budget: 1B
    context: 8Ki
    batch: 64 seq
    micro_batch: 1 seq
    epochs: 1
    document_mask: true
    packing: concatenate
    data: web
sources:
  - {covers: ["*"], mark: chosen}
""",
    "data/mixtures.yaml": """\
mixtures:
  web:
    sources:
      - {corpus: crawl, share: 70%, group: text}
      - {corpus: books, share: 20%, group: text}
      - {corpus: repos, share: 10%, group: text}
sources:
  - {covers: ["*"], mark: chosen}
""",
    "data/published.yaml": """\
corpora:
  crawl: {kind: text, citation: somewhere, stand_in: prose}
  books: {kind: text, citation: somewhere, stand_in: prose}
  repos: {kind: text, citation: somewhere, stand_in: code}
""",
    "data/prose.yaml": f"corpus: prose\nkind: text\nunit: tokens\nbuilder: math\nparameters: {{count: 1}}\n"
    f"digest: {'a' * 64}\nsize: 3_000_000\ndocuments: 9_000\nlongest: 500\nheldout: 40\n",
    "data/code.yaml": f"corpus: code\nkind: text\nunit: tokens\nbuilder: file\npath: data/code.jsonl\n"
    f"digest: {'b' * 64}\nsize: 1_000_000\ndocuments: 2_000\nlongest: 700\nheldout: 4\n",
    "data/tokenizer.yaml": f"tokenizer: mini\nvocab: 264\ndigest: {'c' * 64}\ncorpora: [prose]\ncharacters: 9\n",
    "scales/paper.yaml": """\
scale: paper
engine: torch
engine_class: torch-bf16
device: cuda
threads: 8
seed: 1
corpora: published
releases: given
execution: {nodes: 1, ranks: 8, memory: 100 GB, time_limit: 60 min, checkpoint_every: 100 steps, keep_partials: 2,
            activations: recomputed, determinism: exact}
evaluation: {samples: 8}
pipelines: identity
sources:
  - {covers: ["*"], mark: chosen}
""",
    "scales/mini.yaml": """\
scale: mini
extends: paper
engine_class: torch-fp32
device: cpu
threads: 1
corpora: stand_in
releases: stand_in
vocab: 264
execution: {ranks: 1, memory: 1 GB}
pipelines:
  toy:
    context: 1/64
    tokens: {exponent: 1/2, anchor: {paper: 1B, here: 100K}, floor: 8 steps}
    batch: 1/1024
    micro_batch: 128 tokens
    lr: 10
    min_piece: 2 steps
    models:
      small: {layers: 1}
sources:
  - {covers: ["*"], mark: chosen}
""",
}


def write(root: Path) -> Path:
    """Writes the project below `root` and returns it."""
    for name, text in FILES.items():
        path = root / "specs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def edit(root: Path, name: str, old: str, new: str) -> int:
    """Replaces the one occurrence of `old` in a file; returns the line, counted from 1, at which it stood."""
    return edits.edit(root / "specs" / name, old, new)


def prefer(root: Path, settings: str) -> None:
    """Makes the second stage one of preference training with these `settings`, on a corpus of its own."""
    edits.edit(
        root / "specs/toy/second.yaml",
        "objective: next_token", "objective: preference",
        "packing: concatenate", "packing: whole",
        "data: web", f"data: pairs\n    {settings}",
        "context: 8Ki", "context: 4Ki",
    )  # fmt: skip
    pairs = "  pairs:\n    sources:\n      - {corpus: feedback, share: 100%, group: text}\nsources:\n"
    edits.edit(root / "specs/data/mixtures.yaml", "sources:\n  - {covers", f"{pairs}  - {{covers")
    feedback = "corpora:\n  feedback: {kind: preference, citation: somewhere, stand_in: code}\n"
    edits.edit(root / "specs/data/published.yaml", "corpora:\n", feedback)
