"""A model's micro-batches through Core's schedules: alone, over pipeline ranks, and interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def run(
    chunks: Sequence[Any],
    forward: Callable[[Iterator[Any], Any], Any],
    micros: Callable[[], Iterator[Any]],
    count: int,
    size: int,
    length: int,
    backward: bool,
) -> list[Any]:
    """What the loss functions that `forward` returns gave for each of `count` micro-batches of `size` rows of `length`
    positions; nothing but on the last pipeline stage.

    `micros` makes an iterator for each chunk. All ranks of a model call this at the same time.
    """
    from megatron.core.pipeline_parallel import get_forward_backward_func

    schedule = get_forward_backward_func()
    found: list[Any] = schedule(
        forward_step_func=forward,
        data_iterator=[micros() for _ in chunks],
        model=list(chunks),
        num_microbatches=count,
        seq_length=length,
        micro_batch_size=size,
        forward_only=not backward,
    )
    return found
