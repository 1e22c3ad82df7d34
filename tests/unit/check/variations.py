"""Edits of the shipped specs as a team makes them for a run of its own: each is right, so no check may object.

A variation is a list of edits: in a file below specs/, every match of a regular expression becomes the new text. An
edit of a file that is not there yet writes it.
"""

from __future__ import annotations

NEW = ""  # the pattern of a file that an edit writes

Edits = list[tuple[str, str, str]]
CHOSEN = 'sources:\n  - {covers: ["*"], mark: chosen, reason: our own run}\n'


def everywhere(pipeline: str, stages: str, old: str, new: str) -> Edits:
    """The same edit in several stages of a pipeline."""
    return [(f"{pipeline}/{stage}.yaml", old, new) for stage in stages.split()]


LLAMA, KIMI, OURO = "llama31_1m", "kimi_vl", "ouro"
OURO_LONG = "longct_1_4b midtrain_1_4b reasoning_sft_1_4b longct_2_6b midtrain_2_6b reasoning_sft_2_6b"
OURO_REST = "stable_2_1_4b ct_anneal_1_4b stable_2_2_6b ct_anneal_2_6b " + OURO_LONG
LLAMA_SFT = "sft_32k sft_256k sft_1m"

CPT_768K = (
    """\
stage: cpt_768k
box: 768K Continue Pretrain
kind: train
modules: {llm: llama31_8b}
train: [llm]
frozen: []
init: {from: cpt_512k, weights: inherit, optimizer: inherit, clock: continue, data: continue}
schedule: cpt
optimizer: adamw
rope: {base: 500_000, llama3: {factor: 8, low: 1, high: 4, original: 8Ki}, interpolation: 8}
phases:
  - {name: main, objective: next_token, unit: tokens, budget: 2.4B, context: 768Ki, batch: 5 seq, micro_batch: 1 seq,
     epochs: 1, document_mask: true, packing: concatenate, data: llama_long}
evaluate: [validation_loss, position_loss, needle]
execution: {nodes: 16, ranks: 128, memory: 1500 GB, time_limit: 2880 min, checkpoint_every: 50 steps, keep_partials: 2,
            parallel: {tp: 8, cp: 16, sequence_parallel: true}}
"""
    + CHOSEN
)

OWN_MIXTURE = "  own_sft:\n    sources:\n      - {corpus: reasoning, share: 100%, group: text}"
OWN_SCHEDULE = """\
  own_sft:
    - {shape: linear, from: current, to: 2e-5, for: 0.1 epochs}
    - {shape: cosine, to: 2e-6, for: 0.9 epochs}"""

SFT_64K = (
    """\
stage: sft_64k
box: 64K SFT of the 256K model
kind: train
modules: {llm: llama31_8b}
train: [llm]
frozen: []
init: {from: cpt_256k, weights: inherit, optimizer: reset, clock: reset, data: restart}
schedule: sft_64k
optimizer: adamw
rope: {base: 500_000, llama3: {factor: 8, low: 1, high: 4, original: 8Ki}, interpolation: 8}
phases:
  - {name: main, objective: sft, unit: tokens, budget: 0.8B, context: 64Ki, batch: 64 seq, micro_batch: 1 seq,
     epochs: 1, document_mask: true, packing: whole, data: llama_sft_short}
evaluate: [validation_loss, answers]
execution: {nodes: 4, ranks: 32, memory: 1500 GB, time_limit: 1440 min, checkpoint_every: 50 steps, keep_partials: 2,
            parallel: {tp: 8, sequence_parallel: true}}
"""
    + CHOSEN
)

VARIATIONS: dict[str, Edits] = {
    "twice the budget, twice the horizon": [
        (f"{LLAMA}/sft_32k.yaml", "budget: 1B", "budget: 2B"),
        (f"{LLAMA}/pipeline.yaml", "to: 2e-6, until: 1B", "to: 2e-6, until: 2B"),
    ],
    "another batch size, and as many nodes more": [
        (f"{KIMI}/joint_cooldown.yaml", "batch: 4096 seq", "batch: 8192 seq"),
        (f"{KIMI}/joint_cooldown.yaml", "nodes: 64, ranks: 512", "nodes: 128, ranks: 1024"),
    ],
    "a longer warm-up": [(f"{LLAMA}/pipeline.yaml", "to: 2e-5, for: 0.6B", "to: 2e-5, for: 1.2B")],
    "half the learning rate, from warm-up to floor": [
        (f"{KIMI}/pipeline.yaml", "to: 2e-4, for: 40B", "to: 1e-4, for: 40B"),
        (f"{KIMI}/pipeline.yaml", r"to: 2e-5, until: 2\.0T", "to: 1e-5, until: 2.0T"),
    ],
    "a stage more in the middle, the schedule's horizon moved": [
        (f"{LLAMA}/cpt_768k.yaml", NEW, CPT_768K),
        (f"{LLAMA}/cpt_1m.yaml", "from: cpt_512k", "from: cpt_768k"),
        (f"{LLAMA}/pipeline.yaml", "until: 15B}", "until: 17.4B}"),
        (f"{LLAMA}/pipeline.yaml", r"cpt_512k, cpt_1m, sft_32k", "cpt_512k, cpt_768k, cpt_1m, sft_32k"),
        (f"{LLAMA}_seed001/pipeline.yaml", r"cpt_512k, cpt_1m", "cpt_512k, cpt_768k, cpt_1m"),
        ("scales/small.yaml", "cpt_512k: 2, cpt_1m: 2,", "cpt_512k: 2, cpt_768k: 2, cpt_1m: 3,"),
    ],
    "another optimizer for fine-tuning": [
        (
            f"{LLAMA}/pipeline.yaml",
            r"^schedules:",
            "  adamw_sft: {kind: adamw, beta1: 0.9, beta2: 0.98, eps: 1e-6, weight_decay: 0,\n"
            "              decay: matrices, clip: 0.5}\n"
            "\nschedules:",
        ),
        *everywhere(LLAMA, LLAMA_SFT, "optimizer: adamw", "optimizer: adamw_sft"),
    ],
    "betas of Adam's paper, and a limit for rows of many loops": [
        (f"{OURO}/pipeline.yaml", r"(kind: adamw\n    beta1: 0\.9\n    beta2: )0\.95", r"\g<1>0.999"),
        (f"{OURO}/pipeline.yaml", r"clip: 1\.0", "clip: 10"),
    ],
    "equal betas": [(f"{LLAMA}/pipeline.yaml", r"beta1: 0\.9\n    beta2: 0\.95", "beta1: 0.95\n    beta2: 0.95")],
    "no mean of gradients": [(f"{LLAMA}/pipeline.yaml", r"beta1: 0\.9", "beta1: 0")],
    "the weight decay of small corpora": [(f"{LLAMA}/pipeline.yaml", "weight_decay: 0.1", "weight_decay: 3.2")],
    "Muon with less momentum and larger updates": [
        (f"{KIMI}/pipeline.yaml", r"momentum: 0\.95", "momentum: 0.85"),
        (f"{KIMI}/pipeline.yaml", r"update_rms: 0\.2", "update_rms: 0.4"),
    ],
    "gradients clipped earlier": [(f"{LLAMA}/pipeline.yaml", r"clip: 1\.0", "clip: 0.5")],
    "fine-tuning left out": [
        (
            "ouro_base/pipeline.yaml",
            NEW,
            "pipeline: ouro_base\ntitle: Ouro without fine-tuning\ncitation: our own\nfigure: none\nextends: ouro\n"
            "drop: [reasoning_sft_1_4b, thinking_1_4b, reasoning_sft_2_6b, thinking_2_6b]\nsources: []\n",
        ),
    ],
    "a branch more: the 256K model fine-tuned and released too": [
        (f"{LLAMA}/sft_64k.yaml", NEW, SFT_64K),
        (
            f"{LLAMA}/instruct_256k.yaml",
            NEW,
            "stage: instruct_256k\nbox: 256K Instruct\nkind: export\ninit: {from: sft_64k}\nsources: []\n",
        ),
        (f"{LLAMA}/pipeline.yaml", r"sft_1m, instruct\]", "sft_1m, instruct, sft_64k, instruct_256k]"),
        (
            f"{LLAMA}/pipeline.yaml",
            r"^  sft_256k:",
            "  sft_64k:\n    - {shape: linear, from: current, to: 1e-5, for: 40M}\n"
            "    - {shape: cosine, to: 1e-6, until: 0.8B}\n  sft_256k:",
        ),
        (f"{LLAMA}/pipeline.yaml", r"\[schedules\.sft_32k,", "[schedules.sft_32k, schedules.sft_64k,"),
        ("scales/small.yaml", "sft_32k: 32,", "sft_32k: 32, sft_64k: 32,"),
    ],
    "more experts": [
        (f"{KIMI}/pipeline.yaml", "experts: 64", "experts: 96"),
        (f"{KIMI}/pipeline.yaml", "active_experts: 6", "active_experts: 7"),  # 8 take 82 GB beside images: I-42
        ("scales/mini.yaml", r"^        experts: 8", "        experts: 12"),
        ("scales/small.yaml", r"^        experts: 16", "        experts: 24"),
    ],
    "a wider model, more heads": [
        (f"{KIMI}/pipeline.yaml", r"hidden: 768\n    ffn: 3072\n    heads: 12",
         "hidden: 1024\n    ffn: 4096\n    heads: 16"),
    ],
    "other shares of the corpora": [
        ("data/mixtures.yaml", "llama3_general, share: 50%", "llama3_general, share: 42.5%"),
        ("data/mixtures.yaml", "llama3_code, share: 17%", "llama3_code, share: 24.5%"),
    ],
    "a corpus fewer": [
        ("data/mixtures.yaml", r"      - \{corpus: kimi_ocr_pairs, share: 10%, group: multimodal\}\n", ""),
        ("data/mixtures.yaml", "kimi_grounding_boxes, share: 10%", "kimi_grounding_boxes, share: 20%"),
    ],
    "a shorter last context in fine-tuning": [
        (f"{LLAMA}/sft_1m.yaml", r"context: 1Mi\n    batch: 4 seq", "context: 512Ki\n    batch: 8 seq"),
    ],
    "a scale of one's own": [
        (
            "scales/wide.yaml",
            NEW,
            "scale: wide\nextends: mini\nseed: 7\nthreads: 2\nevaluation: {samples: 64}\n"
            "pipelines:\n  llama31_1m:\n    models: {llama31_8b: {hidden: 96, ffn: 256, heads: 6, kv_heads: 2}}\n"
            + CHOSEN,
        ),
    ],
    "a variant that skips a context": [
        (
            "llama31_short/pipeline.yaml",
            NEW,
            "pipeline: llama31_short\ntitle: Llama 3.1 8B to one million tokens without 512K\ncitation: our own\n"
            "figure: none\nextends: llama31_1m\ndrop: [cpt_512k]\nschedules:\n  cpt:\n"
            "    - {shape: linear, from: 0, to: 2e-5, for: 0.6B}\n    - {shape: constant, until: 12B}\n"
            "    - {shape: cosine, to: 2e-6, for: 1.8B}\n" + CHOSEN,
        ),
        ("llama31_short/cpt_1m.yaml", NEW, "stage: cpt_1m\ninit: {from: cpt_256k}\nsources: []\n"),
    ],
    "a higher rotary base along the long stages": everywhere(OURO, OURO_LONG, "base: 1_000_000", "base: 2_000_000"),
    "twice the nodes for twice the batch": [
        (f"{KIMI}/text_pretrain.yaml", "2048 seq}, {after: 200B, batch: 4096 seq",
         "4096 seq}, {after: 200B, batch: 8192 seq"),
        (f"{KIMI}/text_pretrain.yaml", "nodes: 64, ranks: 512", "nodes: 128, ranks: 1024"),
    ],
    "more images in the joint stages": [
        (f"{KIMI}/joint_pretrain.yaml", "from: 0%, to: 40%", "from: 0%, to: 50%"),
        (f"{KIMI}/joint_cooldown.yaml", "from: 40%, to: 40%", "from: 50%, to: 50%"),
        (f"{KIMI}/joint_longctx.yaml", "from: 40%, to: 40%", "from: 50%, to: 50%"),
        ("scales/small.yaml", "joint_longctx: 40", "joint_longctx: 400"),
    ],
    "fewer loops after the first stage, for a smaller upcycled model": [
        *everywhere(OURO, OURO_REST, r"loops: \{count: 4, beta: 0\.05\}", "loops: {count: 4, beta: 0.02}"),
    ],
    "gradients that are not clipped": [(f"{OURO}/pipeline.yaml", r"clip: 1\.0", "clip: none")],
    "a seed of a stage's own": [
        (f"{LLAMA}/sft_32k.yaml", "^optimizer: adamw", "optimizer: adamw\nseed: 7"),
        (f"{LLAMA}/sft_32k.yaml", "^sources:", "sources:\n  - {covers: [seed], mark: chosen, reason: a second draw}"),
    ],
    "general text replayed in fine-tuning": [
        (
            "data/mixtures.yaml",
            r"(llama_sft_short:\n    sources:\n      - \{corpus: short_instructions, share: )100%(.*)$",
            r"\g<1>75%\g<2>\n      - {corpus: llama3_general, share: 25%, group: text}",
        ),
        (f"{LLAMA}/sft_32k.yaml", "  data: restart", "  data: restart\n  reread: pre-training's text is replayed"),
    ],
    "an epoch of conversations of one's own, with its own schedule": [
        ("data/mixtures.yaml", "^mixtures:", f"mixtures:\n{OWN_MIXTURE}"),
        ("data/mixtures.yaml", "^sources:", "sources:\n  - {covers: [mixtures.own_sft], mark: chosen, reason: ours}"),
        (f"{OURO}/pipeline.yaml", "^schedules:", f"schedules:\n{OWN_SCHEDULE}"),
        (f"{OURO}/pipeline.yaml", "^sources:", "sources:\n  - {covers: [schedules.own_sft], mark: chosen}"),
        (f"{OURO}/reasoning_sft_1_4b.yaml", "schedule: reasoning_sft", "schedule: own_sft"),
        (f"{OURO}/reasoning_sft_1_4b.yaml", "    budget: 68B", "    budget: 1 epoch"),
        (f"{OURO}/reasoning_sft_1_4b.yaml", "    epochs: 2\n", ""),
        (f"{OURO}/reasoning_sft_1_4b.yaml", "data: ouro_sft", "data: own_sft"),
        (f"{OURO}/reasoning_sft_1_4b.yaml", r", phases\.main\.epochs\]", "]"),
        (f"{OURO}/reasoning_sft_1_4b.yaml", "nodes: 32, ranks: 256", "nodes: 1, ranks: 8"),
        # Cut with the miniatures' tokenizer, which is not the full-size model's.
        ("scales/paper.yaml", "^pipelines: .*", "pipelines: {llama31_1m: identity, kimi_vl: identity}"),
    ],
    "pipelines that are at some scales only": [
        ("scales/small.yaml", r"^  ouro:\n(    .*\n)+", ""),
        ("scales/paper.yaml", "^pipelines: .*", "pipelines: {ouro: identity, kimi_vl: identity}"),
    ],
    "two epochs of fine-tuning": [
        (f"{LLAMA}/sft_256k.yaml", "epochs: 1", "epochs: 2"),
        (f"{LLAMA}/sft_256k.yaml", "budget: 0.5B", "budget: 1B"),
        (f"{LLAMA}/pipeline.yaml", r"to: 1e-6, until: 0\.5B", "to: 1e-6, until: 1B"),
    ],
    "a warm-up, then a constant rate to the end": [
        (f"{LLAMA}/pipeline.yaml", r"\{shape: cosine, to: 1e-6, until: 0\.25B\}", "{shape: constant, until: 0.25B}"),
    ],
    "a decay in two pieces": [
        (
            f"{LLAMA}/pipeline.yaml",
            r"    - \{shape: cosine, to: 2e-6, until: 1B\}",
            "    - {shape: linear, to: 5e-6, until: 0.5B}\n    - {shape: cosine, to: 1e-6, until: 1B}",
        ),
    ],
    "a machine of one's own": [
        (
            "hardware/a100.yaml",
            NEW,
            "hardware: a100\ntitle: NVIDIA A100 SXM, 80 GB\ndevice: cuda\npeak: 312T\nmfu: 45%\nmemory: 80 GB\n"
            "runtime: 4 GB\ndisk: 100_000 GB\noverhead: {block_ms: 0, step_ms: 0}\n"
            "images: {side: 50%, positions: 50%}\n" + CHOSEN,
        ),
    ],
    "checkpoints more often, kept longer": [
        (f"{OURO}/stable_1.yaml", "checkpoint_every: 1000 steps, keep_partials: 2",
         "checkpoint_every: 250 steps, keep_partials: 5"),
    ],
    "weights alone handed over, the clock reset": [
        (f"{KIMI}/joint_cooldown.yaml", "optimizer: inherit", "optimizer: reset"),
    ],
}  # fmt: skip
