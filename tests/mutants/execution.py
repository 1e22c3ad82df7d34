"""Defects of execution: what does not fit, waits, is never saved, or is run by no engine."""

from __future__ import annotations

from tests.mutants.mutant import LLAMA, OURO, Edited, Mutant

TEXT = "kimi_vl/text_pretrain.yaml"

MUTANTS = (
    Mutant(
        "I-42",
        "a million positions on one node",
        Edited("llama31_1m/cpt_1m.yaml", r"nodes: 16, ranks: 128((?:.|\n)*?)cp: 16", r"nodes: 1, ranks: 8\1cp: 1"),
        LLAMA,
        "paper",
    ),
    Mutant(
        "I-42",
        "sixty-four ranks on a node of eight devices",
        Edited(TEXT, "nodes: 64, ranks: 512", "nodes: 8, ranks: 512"),
        scale="paper",
    ),
    Mutant(
        "I-42", "a node that cannot hold the weights", Edited(TEXT, "memory: 1500 GB", "memory: 40 GB"), scale="paper"
    ),
    Mutant(
        "I-42",
        "a process that needs more than its node has",
        Edited("scales/mini.yaml", "memory: 1.5 GB", "memory: 0.2 GB"),
    ),
    Mutant(
        "I-43",
        "half of the ranks without a micro-batch",
        Edited("ouro/warmup.yaml", "micro_batch: 4 seq", "micro_batch: 8 seq"),
        OURO,
        "paper",
    ),
    Mutant(
        "I-43",
        "more ranks than micro-batches",
        Edited("kimi_vl/vit_coca.yaml", "nodes: 32, ranks: 256", "nodes: 64, ranks: 512"),
        scale="paper",
    ),
    Mutant(
        "I-44",
        "no checkpoint within a stage of an hour",
        Edited("llama31_1m/sft_1m.yaml", "checkpoint_every: 50 steps", "checkpoint_every: 1000 steps"),
        LLAMA,
        "paper",
    ),
    Mutant(
        "I-44",
        "a time limit that ends before the first checkpoint",
        Edited(TEXT, "time_limit: 2880 min", "time_limit: 10 min"),
        scale="paper",
    ),
    Mutant(
        "I-45",
        "a dense model that eight GPUs would have to divide",
        Edited(
            "scales/small.yaml",
            "{layers: 12, hidden: 640, ffn: 1792, heads: 10, kv_heads: 2, head_dim: 64}",
            "{layers: 40, hidden: 6144, ffn: 24_576, heads: 96, kv_heads: 2, head_dim: 64}\n"
            "    execution: {ranks: 8, memory: 1000 GB, time_limit: 14_400 min}",
        ),
        LLAMA,
        "small",
        also=frozenset({"I-43"}),
    ),
    Mutant(
        "I-45",
        "experts that eight GPUs would have to divide",
        Edited(
            "scales/small.yaml",
            r"(    resolution: 1/28)((?:.|\n)*?expert_ffn: )384",
            r"\1\n    execution: {ranks: 8, memory: 1000 GB}\g<2>122_880",
        ),
        scale="small",
        also=frozenset({"I-43"}),
    ),
)
