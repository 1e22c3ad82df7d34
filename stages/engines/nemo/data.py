"""From the contract's order to Megatron's micro-batches: the rows of a step, blocks of them by data-parallel rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.data.document import PAD
from stages.data.loading.sample import Sample
from stages.engines.nemo.context import own
from stages.models.ops.labels import IGNORED
from stages.models.transfer import to_device
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import cut
from stages.train.ranks import Ranks


@dataclass(frozen=True)
class Micro:
    """A micro-batch of B rows. Tokens, positions, labels and weights are this rank's share [B, s] of T positions."""

    tokens: Tensor  # int64
    positions: Tensor  # int64, within documents
    labels: Tensor  # int64; 0 where nothing is supervised
    weights: Tensor  # fp32: 1 where a target is supervised, else 0
    segments: Tensor  # int32 [B, T] on the host: documents by number, -1 for padding
    samples: tuple[Sample, ...]  # fewer than B in blank rows
    answers: Answers | None = None  # of preference training


@dataclass(frozen=True)
class Answers:
    """The S answers of a micro-batch, of each pair the chosen one first."""

    lengths: Tensor  # fp64 [S], in targets
    at: Tensor  # int64 [B, s]: whose each of this rank's positions is; S where none's
    reference: Tensor | None = None  # fp64 [S], -log p by the reference; None but on the last pipeline stage


@dataclass(frozen=True)
class Share:
    """Which part of a step a rank computes: micro-batches of its data-parallel rank, positions of its context's."""

    replica: int
    replicas: int
    context: int  # this rank among those that divide the rows
    contexts: int
    together: int = 1  # micro-batches are a multiple: an interleaved pipeline wants one for each of its ranks

    @classmethod
    def here(cls) -> Share:
        """This rank's, as Core divided the ranks."""
        from megatron.core import parallel_state as state

        interleaved = (state.get_virtual_pipeline_model_parallel_world_size() or 1) > 1
        return cls(
            state.get_data_parallel_rank(),
            state.get_data_parallel_world_size(),
            state.get_context_parallel_rank(),
            state.get_context_parallel_world_size(),
            state.get_pipeline_model_parallel_world_size() if interleaved else 1,
        )

    def check(self, attends: int, ranks: Ranks) -> None:
        """Raise AssertionError unless all ranks together have every part, each as often; `attends` is this rank among
        those whose keys attention gathers. All ranks call it.
        """
        found = Counter(map(tuple, ranks.values([self.replica, self.context])))
        every = {(replica, context) for replica in range(self.replicas) for context in range(self.contexts)}
        uneven = ranks.size > 1 and (found.keys() != every or len(set(found.values())) > 1)
        if uneven or attends != self.context:
            raise AssertionError(
                f"rows are divided over {self.replicas} replicas of {self.contexts} ranks, which have the parts "
                f"{sorted(found.items())}; attention is rank {attends}, data {self.context}"
            )


def micro_batches(samples: Sequence[Sample], phase: Phase, share: Share, device: torch.device) -> list[Micro]:
    """This rank's micro-batches of a step, in order; as many on every rank, blank ones behind.

    A replica's share is that which the torch engine's rank of the same number has. All ranks need equally many: ranks
    of different replicas exchange tokens where experts are divided.
    """
    cuts = cut(len(samples), phase.micro_batch)
    shares = [Ranks(replica, share.replicas).share(len(cuts)) for replica in range(share.replicas)]
    most = max(1, *(len(one) for one in shares))
    most = -(-most // share.together) * share.together
    mine = [samples[cuts[i].start : cuts[i].stop] for i in shares[share.replica]]
    mine += [[]] * (most - len(mine))
    return [stacked(rows, phase, share, device) for rows in mine]


def stacked(rows: Sequence[Sample], phase: Phase, share: Share, device: torch.device) -> Micro:
    """Rows of the phase's context, filled with padding, which nothing is learnt from: pipelines need equal shapes."""

    def table(name: str, fill: int, dtype: type[np.generic]) -> NDArray[Any]:
        found = np.full((phase.micro_batch, phase.context), fill, dtype=dtype)
        for row, sample in zip(found, rows, strict=False):
            values = getattr(sample, name)
            row[: len(values)] = values
        return found

    labels = table("labels", IGNORED, np.int64)
    segments = table("segments", -1, np.int32)
    if not phase.document_mask:
        segments = np.minimum(segments, 0)  # one document a row; padding stays apart

    def placed(values: NDArray[Any]) -> Tensor:
        return to_device(own(torch.from_numpy(values), share.context, share.contexts).contiguous(), device)

    supervised = labels != IGNORED
    return Micro(
        tokens=placed(table("tokens", PAD, np.int64)),
        positions=placed(table("positions", 0, np.int64)),
        labels=placed(np.where(supervised, labels, 0)),
        weights=placed(supervised.astype(np.float32)),
        segments=torch.from_numpy(segments),
        samples=tuple(rows),
    )


def checksum(samples: Sequence[Sample]) -> int:
    """Of the rows' tokens, targets, documents, positions and images."""
    found = 0
    for one in samples:
        for part in (one.tokens, one.labels, one.segments, one.positions, *(image.pixels for image in one.images)):
            found = crc32(np.ascontiguousarray(part).data, found)
    return found
