"""Which pairs each row of a CoCa phase is made of: order and resolution, without reading a picture; and the inverse.

Row r is patches [r x context, (r + 1) x context) of the phase. A row in which a larger cap begins has that cap, so no
row has more than its share of images. A row has context // (cap / patch)^2 images, however small they are, so that
its items follow from its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from stages.contract import order
from stages.contract.order import Permutation
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.loading.windows import exhausted
from stages.errors import UserError
from stages.spec.resolved_phases import Phase, Source


@dataclass(frozen=True)
class _Regime:
    """Rows from `row` on are filled with `each` images of at most `cap` pixels; `item` images came before them."""

    row: int
    cap: int
    each: int
    item: int


class Pairs:
    """Row -> items of a corpus of pairs, a pure function of (phase, source, seed, scope)."""

    def __init__(self, phase: Phase, source: Source, seed: int, scope: str, manifest: DataManifest) -> None:
        """Raises UserError if the corpus is not of pairs, or a resolution does not fit it or the context."""
        if manifest.kind != "pairs":
            raise UserError(f"corpus {source.corpus}: found {manifest.kind}; allowed: pairs")
        self.phase, self.source = phase, source
        self._cell, self._patch = manifest.cell, manifest.patch
        self.first, self.last = source.start, source.end
        self.count = self.last - self.first
        keys = (order.key(seed, scope, source.corpus, epoch) for epoch in range(phase.epochs))
        self._orders = [Permutation(self.count, key) for key in keys]
        self._regimes = self._plan()

    def cap(self, row: int) -> int:
        """Pixels of the longer side to which the pictures of a row are shrunk."""
        return self._at(row)[0].cap

    def items(self, row: int, patches: int) -> list[int]:
        """The items of a row of at most so many patches: at least one. Raises UserError when epochs are used up."""
        first, count = self.ordinals(row, patches)
        return [self._item(ordinal) for ordinal in range(first, first + count)]

    def ordinals(self, row: int, patches: int) -> tuple[int, int]:
        """(how many items come before the row, how many it has)."""
        regime, first = self._at(row)
        return first, max(1, min(regime.each, patches // self._patches(regime.cap)))

    def epoch(self, row: int) -> int:
        """The epoch of a row's first item, from 0."""
        return self._at(row)[1] // self.count

    def holding(self, item: int) -> Iterator[int]:
        """The rows, over all epochs, that have an item if they are not cut: the inverse of `items`."""
        place = item - self.first
        if not 0 <= place < self.count:
            return
        for epoch, permutation in enumerate(self._orders):
            ordinal = epoch * self.count + permutation.inverse(place)
            regime = [regime for regime in self._regimes if regime.item <= ordinal][-1]
            yield regime.row + (ordinal - regime.item) // regime.each

    def _at(self, row: int) -> tuple[_Regime, int]:
        """The regime of a row, and the ordinal of the row's first item."""
        regime = [regime for regime in self._regimes if regime.row <= row][-1]
        return regime, regime.item + (row - regime.row) * regime.each

    def _item(self, ordinal: int) -> int:
        epoch, place = divmod(ordinal, self.count)
        if epoch >= self.phase.epochs:
            raise exhausted(self.source, self.phase, ordinal, self.count * self.phase.epochs)
        return self.first + self._orders[epoch](place)

    def _plan(self) -> list[_Regime]:
        assert self.phase.coca is not None
        context, regimes, item = self.phase.context, [], 0
        resolutions = self.phase.coca.resolutions
        starts = [resolution.after // context for resolution in resolutions]
        for resolution, (row, following) in zip(resolutions, pairwise([*starts, starts[-1]]), strict=True):
            if resolution.cap < self._cell or resolution.cap % self._cell:
                raise UserError(
                    f"phase {self.phase.name}: resolution cap {resolution.cap}; allowed: multiples of {self._cell} "
                    f"pixels, the side of patch x merge"
                )
            patches = self._patches(resolution.cap)
            each = context // patches
            if not each:
                raise UserError(
                    f"phase {self.phase.name}: an image of {resolution.cap} pixels has {patches} patches, "
                    f"a row has {context}; lower the cap or raise the context"
                )
            regimes.append(_Regime(row, resolution.cap, each, item))
            item += (following - row) * each
        return regimes

    def _patches(self, cap: int) -> int:
        return (cap // self._patch) ** 2
