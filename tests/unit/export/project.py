"""A project with a finished stage of every family of language models, trained in a few seconds.

`toy` is the pipeline of tests/agreement (Moonlight, and with it Kimi-VL's joint stage); `plain` has a Llama that is
trained on text and then on answers, and an Ouro.
"""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

from stages.commands.run import run_stage
from tests.agreement import project as agreement
from tests.agreement.specs import ROPE, TRAIN, phase

LLAMA = "hidden: 32, ffn: 64, heads: 4, kv_heads: 2, head_dim: 8, vocab: 300, norm_eps: 1e-5"
OURO = "hidden: 32, ffn: 64, heads: 4, kv_heads: 4, head_dim: 8, vocab: 300, norm_eps: 1e-6"
FRESH = "{weights: fresh, optimizer: reset, clock: reset, data: restart}"
WAIVERS = "waivers:\n  - {id: I-38, at: [stage], found: handed to nobody, reason: it is exported}\n"
LOOPS = "    loops: {count: 3, beta: 0.1}\n"
SPECS = {
    "plain/pipeline.yaml": f"""\
pipeline: plain
title: Plain
citation: none
figure: none
claims:
  - {{what: the base reads 2K tokens, tokens: 2K, stages: [base]}}
models:
  llama: {{family: llama, layers: 2, {LLAMA}, tied: false, init_std: 0.17}}
  ouro: {{family: ouro, layers: 2, {OURO}, tied: false, init_std: 0.17, post_norm_gain: 1}}
optimizers:
  adamw: {{kind: adamw, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: matrices, clip: 1.0}}
schedules:
  base: [{{shape: constant, from: 1e-3, until: 2K}}]
  tuned: [{{shape: constant, from: 1e-3, until: 2K}}]
  looped: [{{shape: constant, from: 1e-3, until: 2K}}]
stages: [base, tuned, looped, later]
sources:
  - {{covers: ["*"], mark: chosen}}
""",
    "plain/base.yaml": TRAIN.format(
        name="base", modules="{llm: llama}", train="llm", init=FRESH, rope=ROPE,
        phases=phase("main", "next_token", "2K", "math", ""),
    ) + "evaluate: [validation_loss]\n",
    "plain/tuned.yaml": TRAIN.format(
        name="tuned", modules="{llm: llama}", train="llm", rope=ROPE,
        init="{from: base, weights: inherit, optimizer: reset, clock: reset, data: restart}",
        phases=phase("main", "sft", "2K", "talk", "", context=128, packing="whole"),
    ) + "evaluate: [validation_loss, answers]\n",
    "plain/later.yaml": "stage: later\nbox: later\nkind: export\ninit: {from: tuned}\nsources: []\n",
    "plain/looped.yaml": TRAIN.format(
        name="looped", modules="{llm: ouro}", train="llm", init=FRESH, rope=ROPE,
        phases=phase("main", "looped", "2K", "math", LOOPS),
    ) + WAIVERS,
}  # fmt: skip
FINISHED = ("plain/base", "plain/tuned", "plain/looped", "toy/text", "toy/kept", "toy/vit", "toy/joint")


def write(root: Path) -> Path:
    """The project, with its corpora; `plain/later` and `toy/chat` are not run."""
    agreement.write_specs(root)
    for name, text in SPECS.items():
        path = root / "specs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with chdir(root):
        for ref in FINISHED:
            run_stage(ref, "mini", None)
    return root
