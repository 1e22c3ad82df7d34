"""One node's share of the ranks: `python -m stages.engines.node RANKS COMMAND...`, started by `stages.engines.nodes`.

Runs COMMAND once for each of the RANKS of this node, and reports each exit on a line of its own. Its own exit code is 0
once it has reported: srun would end the other nodes' ranks at any other, before they have left by themselves.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import redirect_stderr

from stages.engines import local, nodes


def main(ranks: str, *command: str) -> int:
    """Run this node's ranks to their ends."""
    count, number = int(ranks), int(os.environ["SLURM_NODEID"])
    name = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    with redirect_stderr(sys.stdout):  # stderr is srun's own
        local.run(command, range(number * count, (number + 1) * count), {}, name, _report)
    return 0


def _report(end: local.Exit) -> None:
    print(nodes.report(end), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
