"""Reruns, keys and commits: I-24 to I-26."""

from __future__ import annotations

from stages.check.registry import held_by_code

held_by_code(
    "I-24",
    "test",
    title="A killed job loses nothing and counts for nothing",
    rule="A job that was cancelled or requeued leaves no partial result that passes for a whole one, and a rerun "
    "deletes nothing that was finished.",
    why="Partial files are taken as done, folders are deleted before a rerun, and retries happen inside and outside "
    "the job at once.",
    threads=(
        "snakemake#1318", "snakemake#627", "Snakemake-Profiles/slurm#49", "LightconeResearch#214", "snakemake#3808",
        "snakemake#284",
    ),
    held_by=("stages/store/finish.py", "tests/faults/test_store.py", "tests/faults/test_kill.py"),
)  # fmt: skip
held_by_code(
    "I-25",
    "test",
    title="Exactly what changed is run again",
    rule="A stage is stale when a value that changes its numbers changed, here or above, and for no other reason; "
    "finding that out reads no weights.",
    why="A commit's hash among the parameters reruns day-long jobs, a comment triggers reruns, checksums of terabytes "
    "stall the graph, and what is not hashed serves stale results.",
    threads=(
        "LightconeResearch/lightcone-cli#213", "snakemake#1694", "snakemake#3819", "snakemake#2949", "dvc#10691",
        "marin#6895",
    ),
    held_by=("stages/spec/key.py", "stages/store/done.py", "tests/unit/spec/test_keys.py"),
)  # fmt: skip
held_by_code(
    "I-26",
    "test",
    title="A checkpoint is whole or absent",
    rule="What marks a checkpoint or a result as there is written after everything in it is durable.",
    why="A pointer that moves before the data does loses the run when the machine stops in between; a missing one "
    "restarts from zero over what was there.",
    threads=(
        "KempnerForge#102", "verl#7955", "NVIDIA/Megatron-LM#1763", "NVIDIA-NeMo/Megatron-Bridge#5117",
        "torchtitan#930",
    ),
    held_by=(
        "stages/store/files.py", "stages/train/checkpoint.py", "tests/faults/test_attempts.py",
        "tests/faults/test_store.py",
    ),
)  # fmt: skip
