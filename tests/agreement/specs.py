"""The specs of a small pipeline: six stages with a fork and a merge, each of which trains in well under a second.

    text ─┬─ kept ─┐
          │        ├─ joint ─ release
          │  vit ──┘
          └─ chat

`text` has two phases; `kept` is a pointer; `joint` takes its language model from `kept`, its vision tower from `vit`.
"""

from __future__ import annotations

CORPORA = {"math": 200, "captions": 120, "pairs": 300, "reasoning": 300}  # documents, or pairs

PHASE = """\
  - name: {name}
    objective: {objective}
    unit: {unit}
    budget: {budget}
    context: {context}
    batch: 4 seq
    micro_batch: 2 seq
    epochs: {epochs}
    document_mask: true
    packing: {packing}
    data: {data}
"""
TRAIN = """\
stage: {name}
box: {name}
kind: train
modules: {modules}
train: [{train}]
frozen: []
init: {init}
schedule: {name}
optimizer: adamw
{rope}phases:
{phases}execution: {{checkpoint_every: 2 steps}}
sources:
  - {{covers: ["*"], mark: chosen}}
"""
ROPE = "rope: {base: 10_000, llama3: none, interpolation: 1}\n"
ROUTER = "    router: {bias_update: 1e-3, aux_loss: 1e-4}\n"
FRESH = "{weights: fresh, optimizer: reset, clock: reset, data: restart}"
CHAT = """\
evaluate: [validation_loss]
waivers:
  - {id: I-38, at: [stage], found: handed to nobody, reason: its answers are read and nothing is built on it}
"""


def phase(name: str, objective: str, budget: str, data: str, more: str, **changes: object) -> str:
    fields = {"unit": "tokens", "context": 64, "epochs": 1, "packing": "concatenate", **changes}
    return PHASE.format(name=name, objective=objective, budget=budget, data=data, **fields) + more


SPECS = {
    "toy/pipeline.yaml": """\
pipeline: toy
title: A toy
citation: none
figure: none
claims: []
models:
  llm: {family: moonlight, layers: 2, dense_layers: 1, hidden: 32, ffn: 64, heads: 2, vocab: 300, kv_lora_rank: 16,
        qk_nope_dim: 8, qk_rope_dim: 8, v_head_dim: 8, experts: 4, active_experts: 2, shared_experts: 1,
        expert_ffn: 16, routed_scale: 1.0, norm_eps: 1e-5, tied: false, init_std: 0.02}
  moonvit: {family: moonvit, layers: 1, hidden: 32, ffn: 64, heads: 2, patch: 4, channels: 3, table: 8,
            rope_base: 10_000, norm_eps: 1e-5, init_std: 0.02}
  tower: {family: text_tower, layers: 1, hidden: 32, ffn: 64, heads: 2, vocab: 300, length: 32, norm_eps: 1e-6,
          init_std: 0.02}
  decoder: {family: caption_decoder, layers: 1, hidden: 32, ffn: 64, heads: 2, vocab: 300, length: 32,
            vision_hidden: 32, norm_eps: 1e-5, init_std: 0.02}
  contrastive: {family: contrastive, hidden: 32, ffn: 64, heads: 2, norm_eps: 1e-6, init_std: 0.02,
                init_log_temperature: 2.3, init_bias: -10}
  projector: {family: projector, vision_hidden: 32, merge: 2, llm_hidden: 32, norm_eps: 1e-5, init_std: 0.02}
optimizers:
  adamw: {kind: adamw, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: matrices, clip: 1.0}
schedules:
  text: [{shape: constant, from: 1e-3, until: 3K}]
  vit: [{shape: constant, from: 1e-3, until: 2K}]
  joint: [{shape: constant, from: 1e-3, until: 2K}]
  chat: [{shape: constant, from: 1e-3, until: 2K}]
stages: [text, vit, kept, joint, chat, release]
sources:
  - {covers: ["*"], mark: chosen}
""",
    "toy/text.yaml": TRAIN.format(
        name="text", modules="{llm: llm}", train="llm", init=FRESH, rope=ROPE,
        phases=phase("first", "next_token", "2K", "math", ROUTER) + phase("second", "next_token", "1K", "math", ROUTER),
    ),
    "toy/vit.yaml": TRAIN.format(
        name="vit", modules="{vit: moonvit, text_tower: tower, decoder: decoder, contrastive: contrastive}",
        train="vit, text_tower, decoder, contrastive", init=FRESH, rope="",
        phases=phase(
            "main", "coca", "2K", "pairs", "    coca: {caption_weight: 2, resolutions: [{after: 0%, cap: 16}]}\n",
            unit="patches", packing="whole",
        ),
    ),
    "toy/kept.yaml": "stage: kept\nbox: kept\nkind: keep\ninit: {from: text}\nsources: []\n",
    "toy/joint.yaml": TRAIN.format(
        name="joint", modules="{vit: moonvit, projector: projector, llm: llm}", train="vit, projector, llm",
        init="{from: {vit: vit, llm: kept}, weights: {vit: inherit, projector: fresh, llm: inherit}, "
        "optimizer: reset, clock: reset, data: continue}",
        rope=ROPE,
        phases=phase("main", "joint", "2K", "both", "    multimodal: {from: 50%, to: 50%, over: 0%}\n" + ROUTER),
    ),
    "toy/chat.yaml": TRAIN.format(
        name="chat", modules="{llm: llm}", train="llm",
        init="{from: text, weights: inherit, optimizer: reset, clock: reset, data: restart}", rope=ROPE,
        phases=phase("main", "sft", "2K", "talk", ROUTER, context=128, packing="whole"),
    ) + CHAT,
    "toy/release.yaml": "stage: release\nbox: release\nkind: export\ninit: {from: joint}\nsources: []\n",
    "data/published.yaml": "corpora: {}\n",
    "data/mixtures.yaml": """\
mixtures:
  math: {sources: [{corpus: math, share: 100%, group: text}]}
  talk: {sources: [{corpus: reasoning, share: 100%, group: text}]}
  pairs: {sources: [{corpus: pairs, share: 100%, group: multimodal}]}
  both: {sources: [{corpus: math, share: 100%, group: text}, {corpus: captions, share: 100%, group: multimodal}]}
sources:
  - {covers: ["*"], mark: chosen}
""",
    "scales/mini.yaml": """\
scale: mini
engine: torch
engine_class: torch-fp32
device: cpu
threads: 1
seed: 1
corpora: stand_in
releases: stand_in
vocab: 300
execution: {nodes: 1, ranks: 1, memory: 1 GB, time_limit: 30 min, checkpoint_every: 50 steps, keep_partials: 2,
            activations: kept, determinism: exact}
evaluation: {samples: 2}
pipelines: identity
sources:
  - {covers: ["*"], mark: chosen}
""",
}  # fmt: skip
TOKENIZER = {"tokenizer": "toy", "vocab": 300, "corpora": ["math", "captions"], "characters": 4000}
