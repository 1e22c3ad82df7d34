"""What a batch script runs in these tests: launcher.py RANKS NODES COMMAND..., COMMAND once per rank, as a stage's."""

from __future__ import annotations

import sys
from pathlib import Path

from stages.cluster import slurm
from stages.commands.in_job import looked_after
from stages.engines.launch import launch_on
from stages.errors import UserError


def main(ranks: str, nodes: str, *command: str) -> int:
    job = slurm.allocation()
    assert job is not None
    used, each = job.nodes[: int(nodes)], [sys.executable, *command]
    try:
        with looked_after("tiny/box", job.job, Path.cwd(), ahead=30.0):
            launch_on(used, each, int(ranks), 1, "tiny/box", job)
    except UserError as error:
        print(f"{type(error).__name__}: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
