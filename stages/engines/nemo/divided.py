"""Evaluations in Megatron's own model: every rank computes its part, and all have the answers.

Forward passes only, in the layout that trains: rows are divided over the replicas, positions over context-parallel
ranks, matrices, layers and experts as they are. Nothing is kept or computed again, and logits are made of a few
positions at a time, of each rank's words. What ranks found is put together by adding zeros to it, in which no order can
change a bit: a result depends on the layout as far as its forward passes do, up to rounding (tier same-order).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stages.data.loading.sample import Sample
from stages.engines.nemo import data, families, passes, rotary
from stages.engines.nemo.causal import Head, inner
from stages.engines.nemo.context import chunks as own_chunks
from stages.engines.nemo.data import Micro, Share
from stages.errors import UserError
from stages.evals.model import evaluation_mode
from stages.models.ops.labels import IGNORED
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Phase
from stages.store.digest import digest_bytes
from stages.train.objectives.base import cut
from stages.train.ranks import Ranks, together

AT_ONCE = 4096  # positions whose logits there are at a time

Number = Callable[[Tensor, Tensor], Tensor]
"""From a rank's part of logits [s, B, V / tp] and labels [s, B] to a number of each, [s, B]."""


class Divided:
    """A `stages.evals.Model` of the chunks of Core's model that this rank has. All ranks make the same calls."""

    def __init__(self, stage: Stage, chunks: list[Any], ranks: Ranks) -> None:
        from megatron.core import parallel_state as state

        self._stage, self._chunks, self._ranks, self._share = stage, chunks, ranks, Share.here()
        self._config, self._groups = inner(chunks[0]).config, inner(chunks[0]).pg_collection
        self._last = state.is_pipeline_last_stage(ignore_virtual=True)
        self._share.check(self._groups.cp.rank(), ranks)

    def losses(self, samples: Sequence[Sample], phase: Phase) -> Iterator[tuple[list[Tensor], Tensor]]:
        """All rows in one part."""
        if samples:
            places = torch.cat([torch.from_numpy(_targets(one)) for one in samples])
            yield list(self.by_loop(samples, phase).unbind()), places

    def by_loop(self, samples: Sequence[Sample], phase: Phase) -> Tensor:
        """Loss fp64 [loops, n] of each target after each loop; once, without loops."""
        return self._of_targets(samples, phase, lambda micro: self._each(micro, self._loss))

    def slopes(self, samples: Sequence[Sample], phase: Phase) -> Tensor:
        """As `by_loop`: sum p z - z_target, with the logits z and their softmax p."""
        return self._of_targets(samples, phase, lambda micro: self._each(micro, self._slope))

    def gates(self, samples: Sequence[Sample], phase: Phase) -> Tensor:
        """As `by_loop`, of a model with loops: the exit gate's logits."""
        return self._of_targets(samples, phase, lambda _: self._gate)

    def _of_targets(self, samples: Sequence[Sample], phase: Phase, head: Callable[[Micro], Head]) -> Tensor:
        """A number of each target after each loop, fp64 [loops, n], by what makes one of each position [B, s]."""
        length = self.length(samples)
        loops = 1 if phase.loops is None else phase.loops.count
        table = torch.zeros(loops, len(samples), length, device=self._ranks.device)
        for rows, found in self._passes(samples, phase, length, lambda micro, _: head(micro)):
            if self._groups.tp.rank() == 0:  # the others have the same
                for part, piece in zip(self._parts(length), found[:, : len(rows)].chunk(2, -1), strict=True):
                    table[:, rows.start : rows.stop, part.start : part.stop] = piece
        everywhere = self._added(table)
        return torch.cat([everywhere[:, row, _targets(one)] for row, one in enumerate(samples)], 1).double()

    def logits(self, rows: Sequence[Sample], places: Sequence[range], phase: Phase) -> Tensor:
        """fp32, on the host."""
        length, starts = self.length(rows), [0]
        for one in places:
            starts.append(starts[-1] + len(one))
        width = self._matrix_rows()
        table = torch.zeros(starts[-1], width * self._groups.tp.size(), device=self._ranks.device)
        words = slice(width * self._groups.tp.rank(), width * (self._groups.tp.rank() + 1))

        def here(part: range) -> list[tuple[int, int, int]]:
            """Line of the table, row of the micro-batch and place on this rank of each position that it has."""
            return [
                (starts[row] + number, row - part.start, local)
                for row in part for number, local in self._local(places[row], length)
            ]  # fmt: skip

        for part, found in self._passes(rows, phase, length, lambda _, part: self._logits(here(part))):
            lines = torch.tensor([line for line, _, _ in here(part)], dtype=torch.int64, device=table.device)
            table[lines, words] = found[-1]
        return self._added(table)

    def turned_by(self, rope: Rope) -> AbstractContextManager[None]:
        """On every rank."""
        return rotary.turned_by(self._chunks, rope)

    def evaluating(self) -> AbstractContextManager[None]:
        """Core computes nothing again then, and routers count nothing."""
        return evaluation_mode(self._chunks)

    @together
    def _passes(
        self, samples: Sequence[Sample], phase: Phase, length: int, head: Callable[[Micro, range], Head]
    ) -> list[tuple[range, Tensor]]:
        """What the heads of this rank's micro-batches made, with the rows of each; nothing but on the last stage."""
        self._agree(samples)
        size = self._rows_at_once(samples, length)
        shape = phase.model_copy(update={"context": length, "micro_batch": size})
        work, mine = families.work(self._stage, shape, self._chunks), self._mine(cut(len(samples), size))

        def micros() -> Iterator[tuple[range, Micro]]:
            for rows in mine:
                yield rows, data.stacked(samples[rows.start : rows.stop], shape, self._share, self._ranks.device)

        def forward(given: Iterator[tuple[range, Micro]], chunk: Any) -> Any:
            rows, micro = next(given)
            nothing = torch.zeros((), device=self._ranks.device)
            return work.read(chunk, micro, head(micro, rows)), lambda found: (nothing, nothing.int(), (rows, found))

        found: list[tuple[range, Tensor]] = passes.run(
            self._chunks, forward, micros, len(mine), size, length, backward=False
        )
        return found if self._last else []

    def _mine(self, cuts: Sequence[range]) -> list[range]:
        """This replica's micro-batches; as many on each, empty ones behind."""
        most = -(-len(cuts) // self._share.replicas)
        most = -(-most // self._share.together) * self._share.together
        mine = list(cuts[self._share.replica :: self._share.replicas])
        return mine + [range(0)] * (most - len(mine))

    def _rows_at_once(self, samples: Sequence[Sample], length: int) -> int:
        """As many positions as a micro-batch of training has at most, or one row."""
        most = max(phase.micro_batch * phase.context for phase in self._stage.phases)
        return max(1, min(most // length, -(-len(samples) // self._share.replicas)))

    def length(self, samples: Sequence[Sample]) -> int:
        """Of all rows, filled up to what ranks can divide: two chunks each, and those over tensor parallel ranks."""
        step = 2 * self._share.contexts * (self._groups.tp.size() if self._config.sequence_parallel else 1)
        return -(-max(len(one.tokens) for one in samples) // step) * step

    def _parts(self, length: int) -> tuple[range, range]:
        return own_chunks(length, self._share.context, self._share.contexts)

    def _local(self, places: range, length: int) -> Iterator[tuple[int, int]]:
        """Of these positions of a row, the numbers of those that this rank has, and where it has them."""
        first, second = self._parts(length)
        for number, place in enumerate(places):
            if place in first:
                yield number, first.index(place)
            elif place in second:
                yield number, len(first) + second.index(place)

    def _matrix_rows(self) -> int:
        """Words of a tensor parallel rank."""
        return int(inner(self._chunks[0]).vocab_size) // self._groups.tp.size()

    def _each(self, micro: Micro, number: Number) -> Head:
        def numbers(states: Tensor, matrix: Tensor) -> Tensor:
            """Shape [s, B, H] -> [B, s]."""
            step = max(1, AT_ONCE // states.shape[1])
            parts = zip(self._gathered(states).split(step), micro.labels.T.split(step), strict=True)
            made = [number(F.linear(some, matrix), labels.contiguous()) for some, labels in parts]
            return torch.cat(made).T.float()

        return numbers

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """In nats."""
        from megatron.core.tensor_parallel import vocab_parallel_cross_entropy

        found: Tensor = vocab_parallel_cross_entropy(logits, labels, tp_group=self._groups.tp)
        return found

    def _slope(self, logits: Tensor, labels: Tensor) -> Tensor:
        z, group = logits.float(), self._groups.tp
        most = z.amax(-1)
        dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
        weights = (z - most[..., None]).exp()
        words = z.shape[-1]
        here = labels - words * group.rank()
        own = (here >= 0) & (here < words)
        target = z.gather(-1, here.clamp(0, words - 1)[..., None])[..., 0] * own
        sums = torch.stack([weights.sum(-1), (weights * z).sum(-1), target])
        dist.all_reduce(sums, group=group)
        return sums[1] / sums[0] - sums[2]

    def _gate(self, states: Tensor, matrix: Tensor) -> Tensor:
        """Shape [s, B, H] -> [B, s]."""
        found: Tensor = inner(self._chunks[0]).early_exit_gate(self._gathered(states))
        return found.T.float()

    def _logits(self, here: Sequence[tuple[int, int, int]]) -> Head:
        def logits(states: Tensor, matrix: Tensor) -> Tensor:
            """Shape [s, B, H] -> [n, V / tp]."""
            pairs = torch.tensor([(place, row) for _, row, place in here], dtype=torch.int64, device=states.device)
            places, rows = pairs.view(-1, 2).unbind(1)
            return F.linear(self._gathered(states)[places, rows], matrix).float()

        return logits

    def _gathered(self, states: Tensor) -> Tensor:
        """Under sequence parallelism a rank's last states are some of its positions."""
        from megatron.core.tensor_parallel import gather_from_sequence_parallel_region

        if not self._config.sequence_parallel:
            return states
        whole: Tensor = gather_from_sequence_parallel_region(
            states, tensor_parallel_output_grad=False, group=self._groups.tp
        )
        return whole

    def whole(self, row: Sample, states: Tensor | None) -> Tensor:
        """States [T, H] of a row, fp32 on the host, of this rank's share [s, 1, H]; None where it has none. The row was
        alone: the first replica has computed it.
        """
        length = self.length([row])
        table = torch.zeros(length, self._config.hidden_size, device=self._ranks.device)
        here = None if states is None or self._share.replica else self._gathered(states)
        if here is not None and self._groups.tp.rank() == 0:
            for part, piece in zip(self._parts(length), here[:, 0].chunk(2), strict=True):
                table[part.start : part.stop] = piece
        return self._added(table)

    @together
    def _added(self, table: Tensor) -> Tensor:
        """All ranks' parts: each place is one rank's, and the others have 0 there."""
        dist.all_reduce(table)
        return table.cpu()

    def _agree(self, samples: Sequence[Sample]) -> None:
        """Ranks that read other rows would wait for each other, or mix them. Raises UserError on all."""
        own = digest_bytes(b"".join(part.tobytes() for one in samples for part in (one.tokens, one.labels)))
        texts = self._ranks.texts(own)
        if len(set(texts)) > 1:
            other = next(rank for rank, one in enumerate(texts) if one != texts[0])
            raise UserError(
                f"{self._stage.ref}: evaluations: rank {other} reads other held-out rows than "
                "the first rank; allowed: one folder of corpora for all nodes. Is it the same file system?"
            )


def _targets(sample: Sample) -> NDArray[np.intp]:
    """Positions that have one."""
    return np.flatnonzero(sample.labels != IGNORED)
