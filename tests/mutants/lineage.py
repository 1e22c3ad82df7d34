"""Defects of what is handed down a lineage, and of what a schedule's pieces do."""

from __future__ import annotations

from tests.mutants.mutant import Edited, Mutant

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
        "I-36",
        "a last decay that rises",
        Edited("ouro/pipeline.yaml", "to: 1e-5, for: 300B", "to: 1e-4, for: 300B"),
    ),
    Mutant(
        "I-36",
        "a peak too small to move a weight",
        Edited("ouro/pipeline.yaml", "to: 2e-5, for: 2B", "to: 2e-15, for: 2B"),
    ),
    Mutant(
        "I-36",
        "a scale that raises every rate too far",
        Edited("scales/mini.yaml", r"lr: 25\n", "lr: 2500\n"),
        "ouro",
    ),
)
