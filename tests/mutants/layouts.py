"""Defects of layouts: what ranks of the NeMo engine cannot divide, parts that do nothing or contradict each other."""

from __future__ import annotations

from tests.mutants.mutant import LLAMA, OURO, Edited, Mutant

NEMO = "scales/mini_nemo.yaml"


def laid(pipeline: str, stage: str, execution: str) -> Edited:
    """A stage's own execution, where the scale has none."""
    entry = f"  {pipeline}:\n    executions: {{{stage}: {{{execution}}}}}\n"
    if pipeline == OURO:
        return Edited(NEMO, r"^(    torch: \[.*)$", rf"\1\n    executions: {{{stage}: {{{execution}}}}}")
    return Edited(NEMO, r"^pipelines:\n", f"pipelines:\n{entry}")


def mutant(id: str, defect: str, pipeline: str, stage: str, execution: str, also: str = "") -> Mutant:
    return Mutant(id, defect, laid(pipeline, stage, execution), pipeline, "mini_nemo", frozenset(also.split()))


MUTANTS = (
    mutant("I-46", "four heads over three ranks", LLAMA, "cpt_256k", "ranks: 3, memory: 12 GB, parallel: {tp: 3}"),
    mutant("I-46", "two heads of keys over four ranks", LLAMA, "cpt_256k",
           "ranks: 4, memory: 16 GB, parallel: {tp: 4}"),
    mutant("I-46", "two layers over four pipeline ranks", LLAMA, "sft_32k",
           "ranks: 4, memory: 16 GB, parallel: {pp: 4}"),
    mutant("I-46", "rows over three context parallel ranks", LLAMA, "cpt_1m",
           "ranks: 3, memory: 12 GB, parallel: {cp: 3}"),
    mutant("I-46", "four micro-batches over three replicas", LLAMA, "cpt_256k", "ranks: 3, memory: 12 GB"),
    mutant("I-46", "eight experts over three ranks", "kimi_vl", "text_pretrain",
           "ranks: 1, parallel: {ep: 3}"),
    Mutant("I-46", "three ranks for models of two", laid(LLAMA, "cpt_1m", "ranks: 3, parallel: {tp: 2}"), LLAMA,
           "mini_nemo", refused=True),
    mutant("I-47", "sequence parallelism on one tensor parallel rank", LLAMA, "cpt_1m",
           "parallel: {sequence_parallel: true}"),
    mutant("I-47", "experts over tensor parallel ranks without sequence parallelism", "kimi_vl", "text_pretrain",
           "ranks: 2, memory: 8 GB, parallel: {tp: 2}"),
    mutant("I-47", "pieces of layers without a pipeline", LLAMA, "cpt_1m", "parallel: {vpp: 2}"),
    mutant("I-47", "expert parallelism of a dense model", LLAMA, "cpt_256k",
           "ranks: 2, memory: 8 GB, parallel: {ep: 2}"),
    mutant("I-47", "tensor parallel ranks on two nodes", LLAMA, "cpt_256k",
           "ranks: 2, nodes: 2, parallel: {tp: 2, sequence_parallel: true}"),
    mutant("I-46", "an interleaved pipeline with odd micro-batches", LLAMA, "cpt_1m",
           "ranks: 2, memory: 8 GB, parallel: {pp: 2, vpp: 2}"),
    mutant("I-43", "more replicas than micro-batches", LLAMA, "cpt_1m", "ranks: 2, memory: 8 GB"),
    mutant("I-45", "a looped model's layers over a pipeline", OURO, "stable_1",
           "ranks: 2, memory: 8 GB, parallel: {pp: 2}"),
    mutant("I-45", "Muon's matrices over replicas", "kimi_vl", "text_pretrain",
           "ranks: 2, memory: 8 GB, parallel: {distributed_optimizer: true}"),
    Mutant("I-45", "routed experts without shared ones",
           Edited("scales/mini.yaml", "shared_experts: 1", "shared_experts: 0"), "kimi_vl", "mini_nemo",
           frozenset({"I-35"})),
    Mutant("I-45", "a routed model whose layers are all dense", Edited("kimi_vl/pipeline.yaml", "dense_layers: 1",
           "dense_layers: 3"), "kimi_vl", "mini_nemo", frozenset({"I-35"})),
    mutant("I-46", "an interleaved pipeline with fewer micro-batches than replicas", LLAMA, "cpt_1m",
           "ranks: 8, memory: 32 GB, parallel: {pp: 2, vpp: 2}", "I-43"),
    Mutant("I-42", "a process that imports Megatron in a tenth of its memory",
           Edited(NEMO, "memory: 4 GB", "memory: 0.4 GB"), LLAMA, "mini_nemo"),
)  # fmt: skip
