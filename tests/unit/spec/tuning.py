"""The small project with one stage that fine-tunes on conversations, at a full-size scale that has local corpora."""

from __future__ import annotations

from pathlib import Path

from tests.edits import replaced, substituted
from tests.unit.spec.small_project import edit

CHATS = """\
corpus: chats
kind: sft
unit: tokens
builder: file
path: data/chats.jsonl
digest: eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
size: 80_000
documents: 900
longest: {longest}
heldout: 40
packed:
  128: {{rows: {rows}, tokens: {tokens}}}
"""
MIXTURE = "mixtures:\n  tuning:\n    sources:\n      - {corpus: chats, share: 100%, group: text}\n"
SCHEDULES = "schedules:\n  flat:\n    - {shape: constant, from: 1e-3, until: 1T}\n"
EDITS = (
    ("schedule: main", "schedule: flat"),
    ("objective: next_token", "objective: sft"),
    ("packing: concatenate", "packing: whole"),
    ("data: web", "data: tuning"),
    ("context: 4Ki", "context: 128"),
    ("[{after: 0, batch: 64 seq}, {after: 0.5B, batch: 128 seq}]", "4 seq"),
)


def tuned(root: Path, budget: str, longest: int, rows: int, tokens: int) -> Path:
    """The small project at `root`, its stage `first` fine-tuning in rows of 128 tokens; scale `paper`.

    `rows` and `tokens` are what is measured of `chats` for such rows, `longest` its longest document.
    """
    specs = root / "specs"
    (specs / "data/chats.yaml").write_text(CHATS.format(longest=longest, rows=rows, tokens=tokens))
    edit(root, "data/mixtures.yaml", "mixtures:\n", MIXTURE)
    short, _, _ = (specs / "toy/first.yaml").read_text().partition("  - name: long\n")
    for old, new in (*EDITS, ("budget: 1B", f"budget: {budget}")):
        short = replaced(short, old, new)
    (specs / "toy/first.yaml").write_text(f"{short}sources:\n  - {{covers: ['*'], mark: chosen}}\n")
    for name in ("toy/second", "toy/release", "toy_variant/pipeline", "toy_variant/second"):
        (specs / f"{name}.yaml").unlink()
    (specs / "toy_variant").rmdir()
    edit(root, "toy/pipeline.yaml", "stages: [first, second, release]", "stages: [first]")
    edit(root, "toy/pipeline.yaml", "claims:\n  - {what: everything, tokens: 4B, lineage: second}\n", "")
    pipeline = specs / "toy/pipeline.yaml"
    pipeline.write_text(substituted(pipeline.read_text(), r"(?s)schedules:\n.*?(?=stages:)", SCHEDULES))
    edit(root, "scales/paper.yaml", "corpora: published", "corpora: stand_in")
    return root
