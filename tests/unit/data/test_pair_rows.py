"""Rows of pairs: their order belongs to seed, phase and epoch, and they read their own stretch of pairs only."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contract import order
from stages.contract.order import Permutation
from stages.data.loading.loader import Supply
from stages.errors import UserError
from stages.spec.resolved_phases import Phase
from tests.unit.data.small import Small, coca, load, phase

CONTEXT = 32  # patches: 8 images of 8 x 8 pixels, 4 patches each


def pairs(small: Small, start: int = 0, end: int | None = None, **changes: object) -> Phase:
    settings = {"objective": "coca", "unit": "patches", "context": CONTEXT, "coca": coca((0, 8)), **changes}
    return phase(small.source("pairs", start, end), **settings)


def read(small: Small, made: Phase, rows: int, seed: int = 1, scope: str = "p/s/main") -> list[int]:
    """The numbers of the pairs of the first rows, in order."""
    return [item for row in load(small, made, seed, scope).pairs(0, rows, 0) for _, item in row.items]


def test_seed_and_phase_change_the_order_of_pairs(small: Small) -> None:
    made = pairs(small)
    orders = [read(small, made, 10, *named) for named in ((1, "p/s/a"), (2, "p/s/a"), (1, "p/s/b"))]
    assert len({tuple(items) for items in orders}) == 3
    shuffled = Permutation(small.corpus("pairs").manifest.size, order.key(1, "p/s/a", "pairs", 0))
    assert orders[0] == [shuffled(i) for i in range(len(orders[0]))]


def test_every_epoch_has_all_pairs_of_the_stretch_in_an_order_of_its_own(small: Small) -> None:
    found = read(small, pairs(small, 40, 80, epochs=2), 10)
    first, second = found[:40], found[40:]
    assert sorted(first) == sorted(second) == list(range(40, 80))
    assert first != second


def test_a_stretch_of_pairs_ends_where_it_says(small: Small) -> None:
    with pytest.raises(UserError, match=r"sample 41 of \[40, 80\) is needed, 40 are there in 1 epoch"):
        read(small, pairs(small, 40, 80), 6)


def test_pairs_needed_and_there_are_counted(small: Small) -> None:
    made = pairs(small, 40, 80, epochs=2, budget=3 * CONTEXT + 9)  # the last row has room for two images
    assert load(small, made).supplies() == (Supply(made.sources[0], "pairs", 3 * 8 + 2, 80, 40, 0),)


def test_no_pair_is_left_out_between_two_caps(small: Small) -> None:
    caps = coca((0, 8), (2 * CONTEXT, 16), (5 * CONTEXT, 8))
    made = pairs(small, coca=caps, budget=7 * CONTEXT)
    (supply,) = load(small, made).supplies()
    assert supply.needed == len(read(small, made, 7)) == 2 * 8 + 3 * 2 + 2 * 8


@pytest.mark.parametrize(("room", "images"), [(1, 1), (4, 1), (7, 1), (8, 2), (31, 7), (32, 8)])
def test_a_cut_row_has_the_images_that_fit_and_one_at_least(small: Small, room: int, images: int) -> None:
    (row,) = load(small, pairs(small)).pairs(2, 1, room)
    assert len(row.images) == len(row.items) == len(row.captions) == images
    assert row.captions.dtype == row.caption_lengths.dtype == np.int64


def test_pairs_come_from_one_corpus_of_pairs_and_no_other(small: Small) -> None:
    one = pairs(small)
    for made in (one.model_copy(update={"sources": (*one.sources, *one.sources)}), pairs(small, coca=None)):
        with pytest.raises(UserError, match="phase main: the coca objective reads exactly one corpus of pairs"):
            load(small, made)
    with pytest.raises(UserError, match="corpus captions: found multimodal; allowed: pairs"):
        load(small, one.model_copy(update={"sources": (small.source("captions"),)}))
