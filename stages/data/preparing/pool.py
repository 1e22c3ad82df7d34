"""Pieces over processes: each is encoded once, by a free process; results come in the order of the pieces."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from multiprocessing.sharedctypes import Synchronized

from stages.data.files.pieces import Piece
from stages.data.preparing.progress import Progress
from stages.data.preparing.sorted_runs import Run
from stages.data.preparing.worker import Job, Report, encode_piece
from stages.data.tokens.tokenizer import Source, Tokenizer
from stages.errors import UserError

BLINK = 0.5  # seconds between two readings of how far processes are
ORPHANED = 71  # exit code of a process whose parent was killed


class _Worker:
    """What a process of the pool keeps from piece to piece."""

    tokenizer: Tokenizer
    report: Report


def encode_all(job: Job, pieces: Sequence[Piece], processes: int, progress: Progress) -> list[Run]:
    """The runs of all pieces, in the order of the pieces. The bytes are the same for any number of processes.

    Pieces after the first that has more bad rows than are allowed may be missing. Raises UserError and WriteError.
    """
    if min(processes, len(pieces)) <= 1:
        return _here(job, pieces, progress)
    context = multiprocessing.get_context("spawn")
    read, kept = context.Value("q", 0), context.Value("q", 0)
    executor = ProcessPoolExecutor(min(processes, len(pieces)), context, _start, (job.tokenizer, read, kept))
    before = multiprocessing.active_children()
    try:
        futures = [executor.submit(_encode, job, number, piece) for number, piece in enumerate(pieces)]
        runs: list[Run] = []
        for future in futures:
            while not wait([future], timeout=BLINK).done:
                progress.show(read.value, kept.value)
            runs += future.result()
            if sum(len(run.meta.bad) for run in runs) > job.allowed:
                break
        return runs
    except BrokenProcessPool:
        raise UserError(
            f"{job.corpus}: a process that encodes was killed, as happens when memory is short. Give the same command "
            "again with fewer --processes: what is encoded is kept."
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in before:
                child.terminate()
                child.join()


def _here(job: Job, pieces: Sequence[Piece], progress: Progress) -> list[Run]:
    """The same in this process."""
    tokenizer = job.tokenizer.open()
    read = kept = 0

    def report(more: int, before: int) -> None:
        nonlocal read, kept
        read, kept = read + more, kept + before
        progress.show(read, kept)

    runs: list[Run] = []
    for number, piece in enumerate(pieces):
        runs += encode_piece(job, number, piece, tokenizer, report)
        if sum(len(run.meta.bad) for run in runs) > job.allowed:
            break
    return runs


def _start(tokenizer: Source, read: Synchronized[int], kept: Synchronized[int]) -> None:
    """In each process, before its first piece."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its processes
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a process is one thread
    _end_with_parent()
    _Worker.tokenizer = tokenizer.open()

    def report(more: int, before: int) -> None:
        for counter, change in ((kept, before), (read, more)):
            with counter.get_lock():
                counter.value += change

    _Worker.report = staticmethod(report)


def _end_with_parent() -> None:
    """End this process at once when its parent is gone, also if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _encode(job: Job, number: int, piece: Piece) -> list[Run]:
    return encode_piece(job, number, piece, _Worker.tokenizer, _Worker.report)
