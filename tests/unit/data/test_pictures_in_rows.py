"""Pictures in rows of text, and rows of pairs: image tokens, caps, order, the last row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.data.document import IMAGE, PAD
from stages.data.loading.sample import Sample
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import UserError
from stages.spec.resolved_phases import Phase, ShareRamp
from tests.unit.data.small import Small, coca, half, load, phase


def cells(sample: Sample) -> int:
    return sum(image.pixels.shape[0] * image.pixels.shape[1] // 64 for image in sample.images)


@pytest.mark.parametrize("name", ["captions", "digit_qa", "clips"])
def test_image_tokens_and_pictures_agree(small: Small, name: str) -> None:
    made = phase(small.source(name), objective="align", context=160)
    for sample in load(small, made).samples(0, 2, 0):
        assert (sample.tokens == IMAGE).sum() == cells(sample) > 0
        assert not (sample.labels == IMAGE).any()
        for image in sample.images:
            assert image.pixels.dtype == np.float32
            assert image.pixels.shape[2] == 3
            assert image.pixels.min() == -1
            assert image.pixels.max() <= 1


def test_a_picture_that_does_not_fit_the_context_is_an_error(small: Small) -> None:
    with pytest.raises(
        UserError, match=r"corpus clips: a document has \d+ tokens with its pictures, the context is 32"
    ):
        load(small, phase(small.source("clips"), objective="joint"))


def test_text_and_pictures_share_a_phase(small: Small) -> None:
    made = phase(small.source("math"), small.source("captions"), objective="joint", share=half(), context=64)
    samples = load(small, made).samples(0, 10, 0)
    assert [bool(sample.images) for sample in samples].count(True) == 5
    assert {len(sample.tokens) for sample in samples} == {64}


@pytest.mark.parametrize("tail", range(1, 64, 3))
def test_a_tail_never_shows_half_a_picture(small: Small, tail: int) -> None:
    data = load(small, phase(small.source("digit_qa"), objective="joint", context=64))
    (sample,) = data.samples(0, 1, tail)
    assert len(sample.tokens) == tail
    assert (sample.tokens == IMAGE).sum() == cells(sample)


@pytest.mark.parametrize("number", range(6))
def test_a_cut_row_keeps_its_pictures_whatever_source_comes_after_it(small: Small, number: int) -> None:
    """A corpus says how many pixels an image token stands for; text has none, and two rows of three are text."""
    share = ShareRamp(first=(1, 3), last=(1, 3), over=0)
    made = phase(small.source("math"), small.source("captions"), objective="joint", share=share, context=64)
    (whole,), (cut,) = (load(small, made).samples(number, 1, tail) for tail in (0, 63))
    assert len(cut.images) == len(whole.cut(63, 8).images)


def pair_phase(small: Small, **changes: Any) -> Phase:
    settings = {"objective": "coca", "unit": "patches", "context": 128, "coca": coca((0, 8), (256, 16), (640, 32))}
    return phase(small.source("pairs"), **{**settings, **changes})


def test_rows_hold_as_many_images_as_the_cap_allows(small: Small) -> None:
    rows = load(small, pair_phase(small)).pairs(0, 7, 0)
    assert [len(row.images) for row in rows] == [
        32,
        32,
        8,
        8,
        8,
        2,
        2,
    ]  # 128 patches by (cap / 4)^2, from row 2 and 5 on
    for row, cap in zip(rows, (8, 8, 16, 16, 16, 32, 32), strict=True):
        for image in row.images:
            height, width, channels = image.pixels.shape
            assert max(height, width) <= cap
            assert height % 8 == width % 8 == 0
            assert channels == 3


def test_a_row_in_which_a_cap_begins_has_it(small: Small) -> None:
    rows = load(small, pair_phase(small, coca=coca((0, 8), (129, 16), (384, 32)))).pairs(0, 4, 0)
    assert [len(row.images) for row in rows] == [32, 8, 8, 2]


def test_no_pair_comes_twice_in_an_epoch(small: Small) -> None:
    rows = load(small, pair_phase(small)).pairs(0, 20, 0)
    items = [item for row in rows for item in row.items]
    assert len(set(items)) == len(items) == 2 * 32 + 3 * 8 + 15 * 2


def test_captions_go_with_their_images(small: Small) -> None:
    tokenizer, corpus = Tokenizer(small.data / "tokenizer" / FILE), small.corpus("pairs")
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert corpus.pictures is not None
    for row in load(small, pair_phase(small)).pairs(0, 3, 0):
        for (_, item), caption, length in zip(row.items, row.captions, row.caption_lengths, strict=True):
            text = tokenizer.decode(caption[:length])
            assert (caption[length:] == PAD).all()
            assert text.startswith("<bos>")
            assert text.endswith("<eos>")
            digit = corpus.pictures[item, 4]
            assert digit < 0 or names[digit] in text


def test_rows_are_the_same_from_any_start(small: Small) -> None:
    data = load(small, pair_phase(small))
    whole = data.pairs(0, 8, 0)
    assert [row.items for row in data.pairs(4, 4, 0)] == [row.items for row in whole[4:]]


def test_the_last_row_has_room_for_the_tail_only(small: Small) -> None:
    data = load(small, pair_phase(small))
    (whole,), (cut,) = data.pairs(3, 1, 0), data.pairs(3, 1, 50)
    assert cut.items == whole.items[:3]


def test_pairs_run_out_and_wrap_as_tokens_do(small: Small) -> None:
    with pytest.raises(UserError, match=r"is needed, \d+ are there in 1 epoch"):
        load(small, pair_phase(small, coca=coca((0, 8)))).pairs(0, 12, 0)
    rows = load(small, pair_phase(small, coca=coca((0, 8)), epochs=2)).pairs(0, 12, 0)
    assert sum(len(row.items) for row in rows) == 12 * 32


@pytest.mark.parametrize("cap", [0, 4, 12])
def test_a_cap_that_patches_do_not_fill_is_refused(small: Small, cap: int) -> None:
    with pytest.raises(UserError, match=rf"resolution cap {cap}; allowed: multiples of 8 pixels"):
        load(small, pair_phase(small, coca=coca((0, cap))))


def test_a_cap_larger_than_the_row_is_refused(small: Small) -> None:
    with pytest.raises(UserError, match="64 patches, a row has 32"):
        load(small, pair_phase(small, context=32, coca=coca((0, 32))))
