"""Run every benchmark and write results/records/benchmarks.md: `python -m benchmarks.run` (called by `make record`)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks import checkpoint, many, order, ranks, step, trainer
from stages.report.commit import commit
from stages.store.files import write_atomic
from stages.store.fingerprint import fingerprint

COLUMNS = ("what", "one repetition", "ours", "plain", "ours / plain (lowest to highest)")


def main() -> None:
    rows = [
        comparison.cells() for module in (many, order, checkpoint, step, trainer, ranks) for comparison in module.run()
    ]
    machine, root = fingerprint(), Path.cwd()
    lines = [
        "# Measured: the harness against the plain way",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit(root)}, {machine['cpu_model']}, {machine['cpu_level']}, torch "
        f"{machine['torch']}. Medians; both ways are timed in turn in one process: compare only the ratio.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows)),
    ]
    text = "\n".join(lines) + "\n"
    write_atomic(root / "results" / "records" / "benchmarks.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
