"""How ranks meet, before they exchange anything: with a line where it takes long, and an end where it fails.

A rank may never be started, or not reach another: where the names of nodes lead to loopback, each finds itself. torch
waits for both as long as for anything, in silence.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from stages.errors import UserError, page
from stages.train.stopping import PortTakenError

# A rank that dies closes its connections, which the others notice at once. This only has to outlast the longest thing
# that one rank does while the others wait: the torch engine's evaluations.
PATIENCE = timedelta(days=2)
LONG = 120.0  # seconds after which ranks say that they wait: importing PyTorch over a network takes a minute
TOO_LONG = 3600.0  # seconds after which they end


def meet(backend: str) -> None:
    """Return when all ranks are there. Raises PortTakenError; ends the process where they have not met for too long."""
    with _watched():
        try:
            dist.init_process_group(backend, timeout=PATIENCE)
        except dist.DistNetworkError as error:
            if "EADDRINUSE" not in str(error):
                raise
            raise PortTakenError(
                f"port {os.environ['MASTER_PORT']}, where ranks were to meet, is in use by another program."
            ) from error


@contextmanager
def _watched() -> Iterator[None]:
    """From another thread: this one is inside torch. Nothing has been begun, so nothing is lost by an end."""
    met = threading.Event()

    def watch() -> None:
        for seconds, since in ((LONG, 0.0), (TOO_LONG, LONG)):
            if met.wait(seconds - since):
                return
            print(
                f"has waited {seconds:g} seconds at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} for all "
                f"{os.environ['WORLD_SIZE']} ranks. Where one did not start, its log says why; where nodes do not find "
                f"each other, name their network: GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME ({page('cluster')}).",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        os._exit(UserError.exit_code)

    threading.Thread(target=watch, name="meeting", daemon=True).start()
    try:
        yield
    finally:
        met.set()
