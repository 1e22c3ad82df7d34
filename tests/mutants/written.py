"""Edits of YAML for the invariants that had mutants of resolved stages only: what an author could write.

Where `refused` is set, no spec can break the invariant: the loader refuses every way of writing it, at its line.
"""

from __future__ import annotations

from tests.mutants.models import MINI
from tests.mutants.mutant import LLAMA, OURO, Edited, Mutant

LLAMA_FILE, OURO_FILE, KIMI_FILE = (f"{name}/pipeline.yaml" for name in (LLAMA, OURO, "kimi_vl"))
EXPORT, NO_SOURCES = "llama31_1m/instruct.yaml", r"^sources: \[\]"

REFUSED = (
    ("I-05", "a piece that ends before it begins", LLAMA_FILE, r"constant, until: 15B\}", "constant, until: 0.5B}"),
    ("I-05", "a piece without an end", LLAMA_FILE, r"constant, until: 15B\}", "constant}"),
    ("I-05", "a first piece without a start", LLAMA_FILE, "linear, from: 0, to: 2e-5", "linear, to: 2e-5"),
    ("I-06", "an edge that is silent about a module", "kimi_vl/joint_pretrain.yaml", "projector: vit_align, ", ""),
    ("I-06", "inherited weights and no parent", "ouro/warmup.yaml", "weights: fresh", "weights: inherit"),
    ("I-06", "data that continue after nothing", "kimi_vl/text_pretrain.yaml", "data: restart", "data: continue"),
    ("I-07", "a larger batch after the budget's end", "kimi_vl/text_pretrain.yaml", "after: 200B", "after: 20T"),
    ("I-07", "a step of the batch ramp twice", "kimi_vl/text_pretrain.yaml",
     r"(\{after: 200B, batch: 4096 seq\})", r"\g<1>, \g<1>"),
    ("I-13", "a release with rotary positions of its own", EXPORT, NO_SOURCES,
     "rope: {base: 10_000, llama3: none, interpolation: 1}\nsources: []"),
    ("I-13", "upcycling with rotary positions of its own", "ouro/upcycle_2_6b.yaml", "^evaluate:",
     "rope: {base: 10_000, llama3: none, interpolation: 1}\nevaluate:"),
    ("I-14", "a release with a context of its own", EXPORT, NO_SOURCES, "max_context: 32Ki\nsources: []"),
    ("I-14", "a released model of another length, kept", "ouro/keep_1_4b.yaml", NO_SOURCES,
     "max_context: 64Ki\nsources: []"),
    ("I-18", "a corpus that is too short", "data/long.yaml", "size: 2798927", "size: 279892"),
    ("I-18", "the epochs of a small scale left out", "scales/small.yaml", r"    epochs: \{base: 20, .*\}\n", ""),
    ("I-28", "a warm-up from zero where the parent stopped above it", LLAMA_FILE,
     "from: current, to: 2e-5", "from: 0, to: 2e-5"),
    ("I-28", "a decay from another rate than the parent's last", OURO_FILE,
     "from: current, to: 3e-5", "from: 1e-4, to: 3e-5"),
)  # fmt: skip

SEEN = (
    Mutant(
        "I-28",
        "a waived jump that grows",
        Edited(KIMI_FILE, "from: current, to: 1e-4, for: 2B", "from: current, to: 2e-4, for: 2B"),
    ),
    Mutant(
        "I-28",
        "a jump waived for one module, and another module jumps",
        Edited("kimi_vl/joint_pretrain.yaml", r"vit_align -> vit, vit_align -> projector", "vit_align -> vit"),
    ),
    Mutant(
        "I-28",
        "a jump waived from another parent",
        Edited("kimi_vl/joint_pretrain.yaml", r"at: \[vit_align -> vit,", "at: [vit_coca -> vit,"),
    ),
    Mutant(
        "I-08",
        "micro-batches larger than the batch, as written",
        Edited("llama31_1m/cpt_1m.yaml", "micro_batch: 1 seq", "micro_batch: 8 seq"),
        scale="paper",
        also=frozenset({"I-42"}),
    ),
    Mutant(
        "I-12",
        "a changed base on heads of one pair",
        Edited(MINI, r"(ouro_1_4b: .*head_dim: )\d+", r"\g<1>2"),
        OURO,
        also=frozenset({"I-23", "I-29"}),
    ),
    Mutant(
        "I-15",
        "optimizer state inherited from where the module was frozen, as written",
        Edited(
            "kimi_vl/joint_cooldown.yaml",
            r"train: \[vit, projector, llm\]\nfrozen: \[\]",
            "train: [projector, llm]\nfrozen: [vit]",
        ),
    ),
    Mutant(
        "I-23",
        "more heads than the layers that are copied have",
        Edited(OURO_FILE, r"(layers: 48\n.*\n.*\n    heads: )16\n    kv_heads: 16", r"\g<1>32\n    kv_heads: 32"),
        scale="paper",
        also=frozenset({"I-27"}),
    ),
    Mutant(
        "I-30",
        "a share that falls inside the cooldown",
        Edited("kimi_vl/joint_cooldown.yaml", "from: 40%, to: 40%", "from: 40%, to: 10%"),
    ),
    Mutant(
        "I-31", "loops divided by more than the layers grow", Edited("ouro/stable_2_2_6b.yaml", "count: 4", "count: 2")
    ),
    Mutant(
        "I-34",
        "a decoder frozen at random weights",
        Edited(
            "kimi_vl/vit_coca.yaml",
            r"train: \[vit, text_tower, decoder, contrastive\]\nfrozen: \[\]",
            "train: [vit, text_tower, contrastive]\nfrozen: [decoder]",
        ),
    ),
    Mutant(
        "S-01",
        "a narrower text tower at full size",
        Edited(KIMI_FILE, r"(family: text_tower\n    layers: 27\n    hidden: )1152", r"\g<1>768"),
        scale="paper",
        also=frozenset({"I-27"}),
    ),
    Mutant(
        "S-02",
        "a decoder for narrower image features at full size",
        Edited(KIMI_FILE, r"(length: 64\n    vision_hidden: )1152", r"\g<1>768"),
        scale="paper",
    ),
    Mutant(
        "S-03",
        "a projector into twice the width at full size",
        Edited(KIMI_FILE, "llm_hidden: 2048", "llm_hidden: 4096"),
        scale="paper",
    ),
    Mutant(
        "S-04",
        "half the vocabulary at scale small",
        Edited("scales/small.yaml", "^vocab: 1024", "vocab: 512"),
        scale="small",
    ),
    Mutant(
        "S-05",
        "a decoder too short for the captions, as written",
        Edited(MINI, r"(decoder: \{.*length: )16", r"\g<1>2"),
    ),
    Mutant(
        "S-03", "patches merged three by three, of 64 a side", Edited(KIMI_FILE, "merge: 2", "merge: 3"), scale="paper"
    ),
    Mutant(
        "S-12",
        "the release of a model, a digit lost",
        Edited("llama31_1m/base.yaml", "^release: llama31_8b", "release: llama3_8b"),
        LLAMA,
    ),
    Mutant(
        "S-12",
        "one of three names of a release misspelt",
        Edited("kimi_vl/vit_coca.yaml", r"text_tower: \{release: siglip\}", "text_tower: {release: siglib}"),
    ),
    Mutant(
        "I-30",
        "a ramp over nothing, as written",
        Edited("kimi_vl/joint_pretrain.yaml", r"over: \d+%", "over: 0%"),
        scale="paper",
    ),
    Mutant(
        "S-11",
        "a schedule that no stage reads",
        Edited(
            OURO_FILE,
            "^  reasoning_sft:",
            "  reasoning_old:\n    - {shape: constant, from: 0, until: 1T}\n  reasoning_sft:",
        ),
        OURO,
    ),
    Mutant(
        "S-11",
        "a share of no row",
        Edited(
            "data/mixtures.yaml",
            r"0\.5%, group: text\}((?:\n.*){2}\n.*)6\.2%",
            r"0.0000000000005%, group: text}\g<1>6.6999999999995%",
        ),
        OURO,
        scale="paper",
    ),
    Mutant(
        "S-11",
        "all experts for every token",
        Edited("kimi_vl/pipeline.yaml", r"active_experts: 6", "active_experts: 64"),
        scale="paper",
    ),
    Mutant(
        "S-11",
        "an optimizer left behind",
        Edited(
            LLAMA_FILE,
            "^schedules:",
            "  old: {kind: adamw, beta1: 0.9, beta2: 0.9, eps: 1e-8, weight_decay: 0, decay: all, clip: 1}\nschedules:",
        ),
        LLAMA,
    ),
    Mutant(
        "S-14",
        "a context of the table's next column, in one branch",
        Edited("ouro/longct_2_6b.yaml", "context: 64Ki", "context: 128Ki"),
        OURO,
        "paper",
        frozenset({"I-42"}),
    ),
    Mutant(
        "S-14",
        "another share of entropy in one branch",
        Edited("ouro/stable_2_2_6b.yaml", "beta: 0.05", "beta: 0.1"),
        OURO,
        "paper",
    ),
    Mutant(
        "S-13",
        "an optimizer's figures that nobody knows",
        Edited(LLAMA_FILE, r"covers: \[optimizers\]\n    mark: assumed", "covers: [optimizers]\n    mark: unknown"),
    ),
    Mutant(
        "S-13",
        "a stage's batch that nobody knows",
        Edited(
            "llama31_1m/cpt_256k.yaml",
            r"covers: \[phases.main.batch\]\n    mark: assumed",
            "covers: [phases.main.batch]\n    mark: unknown",
        ),
    ),
    Mutant(
        "S-07",
        "a waiver of an invariant that does not exist",
        Edited(
            "llama31_1m/sft_1m.yaml",
            "^sources:",
            "waivers:\n  - {id: I-99, at: optimizer, found: adamw, reason: because}\nsources:",
        ),
    ),
    Mutant(
        "S-07",
        "a waiver whose reason is a blank",
        Edited(
            "llama31_1m/sft_1m.yaml",
            "^sources:",
            "waivers:\n  - {id: I-19, at: optimizer, found: adamw, reason: ' '}\nsources:",
        ),
    ),
    Mutant("S-08", "captions with a token for each patch", Edited("data/captions.yaml", "cell: 8", "cell: 4")),
    Mutant("S-08", "pairs that were prepared with larger patches", Edited("data/pairs.yaml", "patch: 4", "patch: 8")),
    Mutant(
        "I-48",
        "a window and a limit of skips exchanged",
        Edited(LLAMA_FILE, r"^    clip: 1\.0", "    clip: 1.0\n    skip: {window: 6, sigmas: 128}"),
        LLAMA,
    ),
    Mutant(
        "I-48",
        "a group's own rate in the place of a multiple",
        Edited(
            LLAMA_FILE,
            r"^    clip: 1\.0",
            "    clip: 1.0\n    groups: [{name: tables, of: [embeddings, head], lr: 2e-5, weight_decay: 0}]",
        ),
        LLAMA,
    ),
)

MUTANTS = (*SEEN, *(Mutant(id, defect, Edited(*edit), refused=True) for id, defect, *edit in REFUSED))
