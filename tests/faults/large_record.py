"""results/records/large_input.md: a large file prepared undisturbed and killed, in Markdown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from stages.report.commit import commit
from stages.store.fingerprint import fingerprint
from tests.faults.large_input import ROOT, Outcome, Watched

PATH = Path("results/records/large_input.md")


def page(found: Outcome) -> str:
    """The record as text."""
    machine, undisturbed, made = fingerprint(), found.undisturbed, found.manifest
    tokens = next(shard.size for shard in made.shards if shard.file == "tokens.bin") // 2
    rate = f"{found.size / undisturbed.seconds / 1e6:.1f} MB/s, {tokens / undisturbed.seconds / 1e6:.2f} M tokens/s"
    parts = [("undisturbed", undisturbed), *((f"killed {n}", one) for n, one in enumerate(found.parts[:-1], start=1))]
    lines = [
        "# Measured: a large file",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit(ROOT)}, {machine['cpu_model']}, {machine['cpu_level']}, Python "
        f"{machine['python']}. Written by `python -m tests.faults.large_input`, and by `make nightly`.",
        "",
        f"{found.size / 1e6:,.0f} MB of JSONL, {made.documents + made.heldout:,} documents, {tokens:,} tokens of a "
        f"vocabulary of 32,000, with {found.sizes.processes} processes: {rate}, from start to finish.",
        "",
        f"Then the same with SIGKILL to all processes {len(found.parts) - 1} times, the last time in the merge, before "
        "at moments drawn over the work; and the same command again each time. Both came to digest "
        f"`{made.digest}`: manifests and all files are equal byte for byte.",
        "",
        "Memory is the largest PSS of the whole tree of processes, read four times a second.",
        "",
        "| part | seconds | memory | runs finished | merging |",
        "| --- | --- | --- | --- | --- |",
        *(row(name, one) for name, one in [*parts, ("to the end", found.parts[-1])]),
    ]
    return "\n".join(lines) + "\n"


def row(name: str, part: Watched) -> str:
    """A line of the table."""
    merging = "yes" if part.merging else "no"
    return f"| {name} | {part.seconds:.1f} | {part.memory / 1e6:,.0f} MB | {part.runs} | {merging} |"
