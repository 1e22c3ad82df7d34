"""A case on several ranks: this process forks them, so that an import that takes half a minute is paid once.

Every rank is a process of its own with one thread, in a gloo group of its own on 127.0.0.1. What a test hands over and
gets back travels through the fork and through a pipe from this process's own children.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
import torch.distributed as dist

SECONDS = 60.0  # after which a case is taken to hang
GRACE = 2.0  # for the other ranks once one has failed: the first to fail is often not the one that shows the cause
FORK = multiprocessing.get_context("fork")

T = TypeVar("T")


class RankError(AssertionError):
    """What ranks raised, with their tracebacks; or which ranks ended or hung without a word."""


def run(
    ranks: int, function: Callable[..., T], *arguments: Any, seconds: float = SECONDS, meet: bool = True
) -> list[T]:
    """What `function(*arguments)` returns on each of `ranks` new processes, in the order of the ranks.

    The group of all ranks is there when it is called, unless it is to `meet` them itself; RANK, LOCAL_RANK and
    WORLD_SIZE are set. Raises RankError where a rank raises, ends early, or has not returned after `seconds`. No
    process is left behind.
    """
    if dist.is_available() and dist.is_initialized():
        raise ValueError("this process is in a process group itself: its connections would be shared by a fork")
    with TemporaryDirectory(prefix="ranks-") as folder:
        processes: list[ForkProcess] = []
        pipes: list[Connection] = []
        try:
            for rank in range(ranks):
                ours, theirs = FORK.Pipe(duplex=False)
                call = (theirs, Path(folder) / "meet" if meet else None, rank, ranks, function, arguments, seconds)
                process = FORK.Process(target=_child, args=call, name=f"rank {rank}")
                process.start()
                theirs.close()
                processes.append(process)
                pipes.append(ours)
            return _collect(pipes, seconds)
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                process.join()
            for pipe in pipes:
                pipe.close()


def _collect(pipes: list[Connection], seconds: float) -> list[Any]:
    found: dict[int, Any] = {}
    failed: dict[int, str] = {}
    left, end = dict(zip(pipes, range(len(pipes)), strict=True)), time.monotonic() + seconds
    while left and (ready := wait(list(left), timeout=max(0.0, end - time.monotonic()))):
        for pipe in ready:
            assert isinstance(pipe, Connection)
            rank = left.pop(pipe)
            try:
                good, value = pickle.loads(pipe.recv_bytes())
            except EOFError:
                good, value = False, "ended without a word"
            if good:
                found[rank] = value
            else:
                failed[rank] = value
                end = min(end, time.monotonic() + GRACE)
    if failed:
        raise RankError("\n".join(f"rank {rank}: {said}" for rank, said in failed.items()))
    if left:
        names = ", ".join(str(rank) for rank in sorted(left.values()))
        raise RankError(f"no answer within {seconds:g} s from rank {names}")
    return [found[rank] for rank in range(len(pipes))]


def _child(
    pipe: Connection,
    meet: Path | None,
    rank: int,
    ranks: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    seconds: float,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        LOCAL_WORLD_SIZE=str(ranks),
        GLOO_SOCKET_IFNAME="lo",
    )
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module=r"(megatron|torch|transformers)\b")  # what they say to each other
    try:
        if meet is not None:
            store, limit = dist.FileStore(str(meet), ranks), timedelta(seconds=seconds)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=limit)
        answer = pickle.dumps((True, function(*arguments)))
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    pipe.send_bytes(answer)
    pipe.close()
    os._exit(0)  # no destructors, no coverage, no teardown of the parent's fixtures; the group goes with the process
