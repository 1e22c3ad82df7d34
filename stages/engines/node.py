"""One node's share of the ranks: `python -m stages.engines.node RANKS COMMAND...`, started by `stages.engines.nodes`.

Runs COMMAND once for each of the RANKS of this node, and reports each exit on a line of its own. Its own exit code is 0
once it has reported: srun would end the other nodes' ranks at any other, before they have left by themselves.

A line on its standard input asks it to end its ranks and to report them too, since others have failed. The end of that
file asks for nothing: Slurm ends the batch script first and gives ranks time for a checkpoint.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from contextlib import redirect_stderr

from stages.engines import local, nodes


def main(ranks: str, *command: str) -> int:
    """Run this node's ranks to their ends."""
    count, number = int(ranks), int(os.environ["SLURM_NODEID"])
    name = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    mine, exits = range(number * count, (number + 1) * count), queue.Queue[local.Exit | None]()
    threading.Thread(target=_hear, args=(exits,), daemon=True).start()
    with redirect_stderr(sys.stdout):  # stderr is srun's own
        ended, _ = local.run(command, mine, {}, name, _report, exits)
    for rank in sorted(set(mine) - {end.rank for end in ended}):
        _report(local.Exit(rank, name, nodes.CRASHED, "ended, since others had failed"))
    return 0


def _hear(exits: queue.Queue[local.Exit | None]) -> None:
    if os.read(0, 1):
        exits.put(None)


def _report(end: local.Exit) -> None:
    local.say(nodes.report(end), sys.stdout)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
