"""Defects of what is handed down a lineage, and of what a schedule's pieces do."""

from __future__ import annotations

from tests.mutants import changes
from tests.mutants.mutant import LLAMA, Bent, Edited, Mutant

MUTANTS = (
    Mutant(
        "I-36",
        "a warm-up of 2,000 tokens where 2,000 steps were meant",
        Edited("ouro/pipeline.yaml", "to: 3e-4, for: 2000 steps", "to: 3e-4, for: 2000"),
        scale="paper",
    ),
    Mutant(
        "I-36",
        "a peak without its minus",
        Edited("llama31_1m/pipeline.yaml", r"to: 2e-5, for: 0\.6B", "to: 2e5, for: 0.6B"),
        scale="paper",
    ),
    Mutant(
        "I-36",
        "a decay from a rate to itself",
        Edited("ouro/pipeline.yaml", r"to: 3e-5, for: 1\.4T", "to: 3e-4, for: 1.4T"),
    ),
    Mutant(
        "I-36", "a last decay that rises", Edited("ouro/pipeline.yaml", "to: 1e-5, for: 300B", "to: 1e-4, for: 300B")
    ),
    Mutant(
        "I-36",
        "a peak too small to move a weight",
        Edited("ouro/pipeline.yaml", "to: 2e-5, for: 2B", "to: 2e-15, for: 2B"),
    ),
    Mutant(
        "I-36", "a scale that raises every rate too far", Edited("scales/mini.yaml", r"lr: 25\n", "lr: 2500\n"), "ouro"
    ),
    Mutant(
        "I-37",
        "the base falls back after the extension",
        Edited("ouro/midtrain_1_4b.yaml", "base: 1_000_000", "base: 10_000"),
    ),
    Mutant(
        "I-37",
        "interpolation is forgotten in fine-tuning",
        Edited("llama31_1m/sft_32k.yaml", "interpolation: 8", "interpolation: 1"),
    ),
    Mutant(
        "I-37",
        "another base in a shorter fine-tuning: nothing long is trained under it",
        Edited("ouro/reasoning_sft_1_4b.yaml", "base: 1_000_000", "base: 5_000_000"),
    ),
    Mutant(
        "I-37",
        "a base with two digits too many, where no context grows",
        Edited("ouro/stable_2_1_4b.yaml", "base: 10_000", "base: 30_000"),
    ),
    Mutant(
        "I-38",
        "the export starts from the stage before the last",
        Edited("llama31_1m/instruct.yaml", "from: sft_1m", "from: sft_256k"),
    ),
    Mutant(
        "I-38",
        "a stage of fine-tuning is passed over",
        Edited("llama31_1m/sft_256k.yaml", "from: sft_32k", "from: cpt_1m"),
    ),
    Mutant(
        "I-38",
        "fine-tuning starts before mid-training, which is exported alone",
        Edited("ouro/reasoning_sft_1_4b.yaml", "from: ouro_1_4b", "from: longct_1_4b"),
    ),
    Mutant(
        "I-39",
        "the optimizer is reset at the peak of a running clock",
        Edited("llama31_1m/cpt_512k.yaml", "optimizer: inherit", "optimizer: reset"),
    ),
    Mutant(
        "I-39",
        "the optimizer is reset after upcycling, at the full rate",
        Edited("ouro/stable_2_2_6b.yaml", "optimizer: inherit", "optimizer: reset"),
    ),
    Mutant(
        "I-40",
        "the vision tower as it was before its alignment",
        Edited("kimi_vl/joint_pretrain.yaml", "vit: vit_align, projector", "vit: vit_coca, projector"),
        also=frozenset({"I-28"}),
    ),
    Mutant(
        "I-40",
        "the projector from joint training, the tower from before it",
        Edited(
            "kimi_vl/joint_cooldown.yaml",
            "from: joint_pretrain",
            "from: {vit: vit_align, projector: joint_pretrain, llm: joint_pretrain}",
        ),
        also=frozenset({"I-28"}),
    ),
    Mutant(
        "I-41",
        "another pipeline's tokenizer",
        Edited("kimi_vl/pipeline.yaml", "tokenizer: moonshotai/.*", "tokenizer: HuggingFaceTB/SmolLM2-1.7B"),
    ),
    Mutant(
        "I-41",
        "the line with the tokenizer is lost",
        Edited("ouro/pipeline.yaml", r"tokenizer: .*\n", ""),
        scale="paper",
    ),
    Mutant(
        "I-41",
        "a variant with another tokenizer under the same released model",
        Edited("llama31_1m_seed001/pipeline.yaml", "extends: llama31_1m", r"\g<0>\ntokenizer: another"),
    ),
    Mutant(
        "I-41",
        "a child with another tokenizer than its parent",
        Bent(changes.stage("sft_1m", tokenizer="x")),
        LLAMA,
        also=frozenset(
            {"S-04"}
        ),  # its corpora are of the local tokenizer, which has more tokens than a miniature's model
    ),
    Mutant(
        "I-18",
        "a restart that reads the parent's documents again",
        Edited("ouro/stable_2_1_4b.yaml", "data: continue", "data: restart"),
    ),
    Mutant(
        "I-30",
        "the share falls from one joint stage to the next",
        Edited("kimi_vl/joint_cooldown.yaml", "from: 40%, to: 40%", "from: 0%, to: 40%"),
    ),
    Mutant(
        "S-09",
        "text that is declared as conversations",
        Edited("data/published.yaml", "nemotron_cc: {kind: text", "nemotron_cc: {kind: sft"),
        "ouro",
    ),
    Mutant(
        "S-09",
        "text in the place of conversations",
        Edited("data/published.yaml", r"(midtrain_sft_mix: .*stand_in: )reasoning", r"\1prose"),
        "ouro",
    ),
    Mutant(
        "S-10",
        "a caption decoder with another vocabulary",
        Edited("kimi_vl/pipeline.yaml", r"vocab: 32_000(\n    length: 64\n    vision_hidden)", r"vocab: 64_000\1"),
        scale="paper",
    ),
    Mutant(
        "S-10",
        "a text tower with another vocabulary",
        Edited("kimi_vl/pipeline.yaml", r"vocab: 32_000(\n    length: 64\n    norm_eps)", r"vocab: 48_000\1"),
        scale="paper",
        also=frozenset({"I-27"}),
    ),
)
