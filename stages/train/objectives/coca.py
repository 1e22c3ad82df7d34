"""CoCa over the whole batch: L_siglip + weight * L_caption, exact with micro-batches (GradCache, arXiv 2101.06983).

First all pairs are embedded without a graph, in sample order, and the contrastive loss of the whole batch gives its
gradient at every embedding; then each micro-batch is run again with a graph, and takes its share from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stages.contract import numbers
from stages.contract.ledger import Step
from stages.errors import UserError
from stages.models.coca import (
    ContrastiveGradient,
    caption_loss,
    embed_images,
    embed_texts,
    surrogate,
    whole_batch_gradient,
)
from stages.models.transfer import to_device
from stages.models.vision_packing import Grid, pack
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import cut, patch_size, precision
from stages.train.prefetch import Prefetch
from stages.train.ranks import ALONE, Ranks
from stages.train.reduce import Gradients

if TYPE_CHECKING:
    from stages.data.loading.sample import PairRow

    ReadPairs = Callable[[int, int, int], list[PairRow]]  # first row, how many, tail of the last one


@dataclass(frozen=True)
class _Pairs:
    """A micro-batch: packed pixels [N, C * patch^2] of its images, captions [n, length] and their lengths [n]."""

    pixels: Tensor
    grids: list[Grid]
    captions: Tensor
    lengths: Tensor
    place: slice  # where its pairs stand in the step

    def to(self, device: torch.device) -> _Pairs:
        """The same on a device."""
        pixels, captions, lengths = (to_device(part, device) for part in (self.pixels, self.captions, self.lengths))
        return _Pairs(pixels, self.grids, captions, lengths, self.place)


@dataclass(frozen=True)
class _Prepared:
    """A step's pairs: this rank's micro-batches by their number, on the host, and counts over all of them."""

    micro: dict[int, _Pairs]
    batches: int
    pairs: int
    targets: int


class Coca:
    """See the module's docstring; `modules` are vit, text_tower, decoder and contrastive."""

    extras: tuple[str, ...] = ("contrastive", "caption", "pairs", "temperature")

    def __init__(
        self,
        stage: Stage,
        phase: Phase,
        modules: nn.ModuleDict,
        read: ReadPairs,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        patch = patch_size(stage)
        if phase.coca is None or patch is None:
            raise UserError(f"{stage.ref}: objective coca needs a vision tower and `coca` settings")
        self.stage, self.phase, self.modules, self.read, self.device = stage, phase, modules, read, device
        self.ranks = ranks
        self._scheduled, self._patch = phase.coca.caption_weight, patch
        self._weight = 0.0  # the step's
        self._micro: dict[int, _Pairs] = {}  # this rank's, by their number in the step
        self._targets = self._count = 0
        self._whole: ContrastiveGradient | None = None
        self._prefetch = Prefetch(self._prepare, phase, device)

    def begin(self, step: Step) -> int:
        """Embed this rank's pairs, gather all ranks', and take the contrastive loss over all of them.

        Raises UserError for a step that has none, as a last one that is shorter than an image.
        """
        self._weight = numbers.value(self._scheduled, self.phase.clock_start + step.end)
        prepared = self._prefetch.take(step)
        if not prepared.pairs:
            raise UserError(
                f"phase {self.phase.name}: step {step.index + 1} (patches {step.start} to {step.end} of the phase) has "
                f"no image that fits: {', '.join(s.corpus for s in self.phase.sources)}; if it is the last, partial "
                f"step, make the budget a multiple of the context, {self.phase.context}"
            )
        self._count, self._targets = prepared.pairs, prepared.targets
        self._micro = {index: micro.to(self.device) for index, micro in prepared.micro.items()}
        images, texts = [], []
        with torch.no_grad(), precision(self.stage):
            for micro in self._micro.values():
                images.append(embed_images(self.modules, micro.pixels, micro.grids)[1].float())
                texts.append(embed_texts(self.modules, micro.captions).float())
        self._whole = whole_batch_gradient(self.ranks.rows(images), self.ranks.rows(texts), self.modules["contrastive"])
        return prepared.batches

    def _prepare(self, step: Step) -> _Prepared:
        """The step's pairs, read and packed."""
        rows = self.read(step.first_sample, step.sequences, step.tail)
        rows = [row for row in rows if row.images]
        cuts = cut(len(rows), self.phase.micro_batch)
        sizes = [sum(len(rows[i].captions) for i in chosen) for chosen in cuts]
        ends = list(accumulate(sizes, initial=0))
        micro = {
            index: self._pairs([rows[i] for i in cuts[index]], slice(ends[index], ends[index + 1]))
            for index in self.ranks.share(len(cuts))
        }
        targets = sum(int((row.caption_lengths - 1).clip(min=0).sum()) for row in rows)
        return _Prepared(micro, len(cuts), ends[-1], targets)

    def close(self) -> None:
        """End what prepares the steps' data."""
        self._prefetch.close()

    def part(self, index: int) -> tuple[Tensor, list[Tensor]]:
        """Caption loss of the micro-batch, and its share of the contrastive loss by the cached gradients.

        The returned loss has the right gradient and the right value: the surrogate's value is replaced.
        """
        micro, whole = self._micro[index], self._gradient()
        with precision(self.stage):
            features, images = embed_images(self.modules, micro.pixels, micro.grids)
            texts = embed_texts(self.modules, micro.captions)
            decoder = self.modules["decoder"]
            total = caption_loss(decoder, features, micro.grids, micro.captions, micro.lengths)
            caption = total / max(self._targets, 1)
            linear = surrogate(images, whole.image_emb[micro.place]) + surrogate(texts, whole.text_emb[micro.place])
        pairs = torch.full((), float(len(micro.captions)), device=self.device)
        share = pairs / self._count
        contrastive = whole.loss * share
        temperature = self.modules["contrastive"].logit_scale.detach().exp().sum() * share
        value = contrastive + self._weight * caption.detach()
        loss = linear + self._weight * caption
        return loss - loss.detach() + value, [contrastive, caption.detach(), pairs, temperature]

    def whole_batch(self) -> Gradients | None:
        """Gradients of the temperature and the bias, which only the whole batch has."""
        whole, contrastive = self._gradient(), self.modules["contrastive"]
        known = {contrastive.logit_scale: whole.logit_scale, contrastive.logit_bias: whole.logit_bias}
        trained = [part for name, part in self.modules.items() if name in self.stage.trained]
        return [known.get(parameter) for part in trained for parameter in part.parameters() if parameter.requires_grad]

    def whole_values(self) -> dict[str, Tensor]:
        """Nothing: every column is a sum over micro-batches."""
        return {}

    def supervised(self) -> int:
        """Caption tokens that are predicted in this step."""
        return self._targets

    def finish(self) -> None:
        """Nothing to do."""

    def _gradient(self) -> ContrastiveGradient:
        if self._whole is None:
            raise AssertionError("part() before begin()")
        return self._whole

    def _pairs(self, rows: Sequence[PairRow], place: slice) -> _Pairs:
        pixels, grids = pack([image.pixels for row in rows for image in row.images], self._patch)
        captions = torch.cat([torch.from_numpy(row.captions) for row in rows])
        lengths = torch.cat([torch.from_numpy(row.caption_lengths) for row in rows])
        return _Pairs(pixels, grids, captions, lengths, place)
