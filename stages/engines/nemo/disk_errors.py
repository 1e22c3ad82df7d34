"""The errors of the disk that Core's writer of checkpoints meets, as they were raised.

Core turns each into an error of its own that has neither the number nor the words: a full disk could not be told from
one that is broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def kept() -> Iterator[None]:
    """Within the block, what a rank's writer raises is what the first rank is handed of it."""
    from megatron.core.dist_checkpointing.strategies.filesystem_async import FileSystemWriterAsync as Writer
    from torch.distributed.checkpoint.api import _wrap_exception

    write, retrieve = Writer.write_preloaded_data, Writer.retrieve_write_results
    met: list[Exception] = []

    def noting(transforms: Any, results_queue: Any = None, count_queue: Any = None, **more: Any) -> Any:
        number, found = write(transforms, results_queue=None, count_queue=None, **more)
        if isinstance(found, Exception):
            met.append(found)
            found = []
        if results_queue is not None:
            results_queue.put((number, found))
        if count_queue is not None:
            count_queue.get()
            count_queue.task_done()
        return number, found

    def retrieved(self: Any) -> Any:
        return _wrap_exception(met[0]) if met else retrieve(self)

    Writer.write_preloaded_data, Writer.retrieve_write_results = staticmethod(noting), retrieved
    try:
        yield
    finally:
        Writer.write_preloaded_data, Writer.retrieve_write_results = staticmethod(write), retrieve
