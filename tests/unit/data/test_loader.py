"""Samples: what the model sees and what it is taught, against independent counts over the documents."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stages.contract.mixture import Mixture
from stages.data.document import BOS, EOS, IM_END, IMAGE, PAD
from stages.data.loader import PhaseData
from stages.data.sample import Sample
from stages.data.tokenizer import FILE, Tokenizer
from stages.errors import UserError
from tests.unit.data.small import Small, coca, half, phase


def load(small: Small, made, seed: int = 1, scope: str = "p/s/main") -> PhaseData:
    return PhaseData(made, seed, scope, small.data)


def windows(small: Small, name: str, context: int) -> int:
    return (small.corpus(name).manifest.size - 1) // context


def same(one: Sample, other: Sample) -> bool:
    arrays = ("tokens", "labels", "segments", "positions")
    return one.spans == other.spans and all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)


# ------------------------------------------------------------------ concatenated windows


@pytest.mark.parametrize("context", [7, 32, 100])
def test_one_epoch_teaches_every_token_once(small: Small, context: int) -> None:
    count = windows(small, "math", context)
    samples = load(small, phase(small.source("math"), context=context)).samples(0, count, 0)
    corpus = small.corpus("math")
    covered = corpus.tokens[: count * context + 1].astype(np.int64)
    taught = np.sort(np.concatenate([sample.labels[sample.labels != -100] for sample in samples]))
    assert np.array_equal(taught, np.sort(covered[1:][covered[1:] != BOS]))
    read = sorted((span for sample in samples for span in sample.spans), key=lambda span: span[1:])
    assert sum(end - start for _, _, start, end in read) == count * context
    assert len({(document, start) for _, document, start, _ in read}) == len(read)


def test_the_label_is_the_next_token_of_the_same_document(small: Small) -> None:
    for sample in load(small, phase(small.source("math"))).samples(0, 20, 0):
        follows = np.append(sample.segments[1:] == sample.segments[:-1], False)
        assert np.array_equal(sample.labels[follows], sample.tokens[1:][follows[:-1]])
        ends = np.flatnonzero(sample.tokens == EOS)
        assert (sample.labels[ends] == -100).all()  # nothing teaches what the next document is


def test_the_end_of_a_document_is_taught(small: Small) -> None:
    samples = load(small, phase(small.source("math"))).samples(0, 20, 0)
    assert sum(int((sample.labels == EOS).sum()) for sample in samples) > 0


def test_masked_documents_have_their_own_segments_and_positions(small: Small) -> None:
    for sample in load(small, phase(small.source("math"))).samples(0, 20, 0):
        begins = np.flatnonzero(sample.tokens == BOS)
        assert np.array_equal(np.flatnonzero(np.diff(sample.segments)) + 1, begins[begins > 0])
        assert (sample.positions[begins] == 0).all()
        assert sample.positions[0] == 0
        steps = np.diff(sample.positions)[np.diff(sample.segments) == 0]
        assert (steps == 1).all()


def test_unmasked_rows_are_one_running_segment(small: Small) -> None:
    (sample,) = load(small, phase(small.source("math"), document_mask=False)).samples(3, 1, 0)
    assert (sample.segments == 0).all()
    assert sample.positions.tolist() == list(range(32))


def test_spans_say_what_was_read(small: Small) -> None:
    corpus = small.corpus("math")
    for sample in load(small, phase(small.source("math"))).samples(0, 10, 0):
        parts = [corpus.tokens[corpus.offsets[d] + a : corpus.offsets[d] + b] for _, d, a, b in sample.spans]
        assert np.array_equal(np.concatenate(parts), sample.tokens)


# ------------------------------------------------------------------ order, ranges, epochs


def test_a_sample_depends_on_its_index_only(small: Small) -> None:
    made = phase(small.source("math", weight=2), small.source("reasoning"))
    whole = load(small, made).samples(0, 24, 0)
    again = load(small, made)
    for first, count in ((17, 3), (0, 1), (5, 12)):
        for place, sample in enumerate(again.samples(first, count, 0), start=first):
            assert same(sample, whole[place])


@pytest.mark.parametrize("packing", ["concatenate", "whole"])
def test_seed_and_scope_change_the_order(small: Small, packing: str) -> None:
    made = phase(small.source("math"), packing=packing, context=80)
    orders = {
        tuple(sample.spans for sample in load(small, made, seed, scope).samples(0, 8, 0))
        for seed, scope in ((1, "a"), (2, "a"), (1, "b"))
    }
    assert len(orders) == 3


@pytest.mark.parametrize("packing", ["concatenate", "whole"])
def test_touching_ranges_share_no_document(small: Small, packing: str) -> None:
    middle = small.corpus("math").manifest.size // 2
    seen = []
    for start, end in ((0, middle), (middle, small.corpus("math").manifest.size)):
        made = phase(small.source("math", start, end), packing=packing, context=128)
        data = load(small, made)
        spans = {span[1] for sample in data.samples(0, 10, 0) for span in sample.spans}
        seen.append(spans)
    assert seen[0]
    assert seen[1]
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("packing", ["concatenate", "whole"])
def test_a_used_up_corpus_says_what_is_needed_and_available(small: Small, packing: str) -> None:
    data = load(small, phase(small.source("math"), packing=packing, context=128))
    with pytest.raises(UserError, match=r"sample 100000 of .* is needed, \d+ are there in 1 epoch"):
        data.samples(99_999, 1, 0)


def test_a_second_epoch_reads_everything_again_in_another_order(small: Small) -> None:
    count = windows(small, "math", 32)
    data = load(small, phase(small.source("math"), epochs=2))
    first = [sample.spans for sample in data.samples(0, count, 0)]
    second = [sample.spans for sample in data.samples(count, count, 0)]
    assert sorted(first) == sorted(second)
    assert first != second
    with pytest.raises(UserError, match=f"{2 * count} are there in 2 epoch"):
        data.samples(2 * count, 1, 0)


def test_whole_packing_wraps_into_its_second_epoch(small: Small) -> None:
    data = load(small, phase(small.source("reasoning"), packing="whole", context=256, epochs=2))
    read: list[int] = []
    training = small.corpus("reasoning").training_documents
    for i in range(10_000):
        read += (span[1] for span in data.samples(i, 1, 0)[0].spans)
        if len(read) == 2 * training:
            break
    assert sorted(read[:training]) == sorted(read[training:]) == list(range(training))
    assert len(set(data.plan_digests["reasoning"])) == 2


def test_sources_take_turns_as_the_mixture_says(small: Small) -> None:
    made = phase(small.source("math", weight=3), small.source("reasoning", weight=1))
    mixture = Mixture(made)
    for i, sample in enumerate(load(small, made).samples(0, 20, 0)):
        assert {span[0] for span in sample.spans} == {made.sources[mixture.pick(i)[0]].corpus}


def test_the_wrong_corpus_or_range_is_refused(small: Small) -> None:
    good = small.source("math")
    with pytest.raises(UserError, match=r"the stage wants f{64}"):
        load(small, phase(good.model_copy(update={"digest": "f" * 64})))
    with pytest.raises(UserError, match=r"training reaches from 0 to"):
        load(small, phase(good.model_copy(update={"end": good.end + 1})))  # the held-out documents begin there
    with pytest.raises(UserError, match="no document begins in"):
        load(small, phase(good.model_copy(update={"start": 1, "end": 2})))


# ------------------------------------------------------------------ answers only


def answers(tokenizer: Tokenizer, tokens: np.ndarray) -> int:
    """Supervised tokens of a chat document, counted from its text: answers, their <|im_end|>, and the closing EOS."""
    count = 0
    for turn in re.findall(r"<\|im_start\|>assistant\n(.*?)<\|im_end\|>", tokenizer.decode(tokens), re.DOTALL):
        for piece in re.split(r"(<think>|</think>)", turn):
            count += 1 if piece in ("<think>", "</think>") else len(tokenizer.encode(piece))
        count += 1
    return count + 1


def test_sft_teaches_exactly_the_answers(small: Small) -> None:
    tokenizer, corpus = Tokenizer(small.data / "tokenizer" / FILE), small.corpus("reasoning")
    made = phase(small.source("reasoning"), objective="sft", packing="whole", context=256)
    for sample in load(small, made).samples(0, 12, 0):
        expected = sum(
            answers(tokenizer, corpus.tokens[slice(*corpus.offsets[d : d + 2])]) for _, d, _, _ in sample.spans
        )
        assert (sample.labels != -100).sum() == expected
        first = sample.labels[sample.labels != -100][0]
        assert tokenizer.decode([first]) == "<think>"  # the first answer token is among them
        assert (sample.labels == EOS).sum() == (sample.labels == IM_END).sum() == len(sample.spans)


def test_the_same_corpus_teaches_everything_in_pretraining(small: Small) -> None:
    made = phase(small.source("reasoning"), packing="whole", context=256)
    (sample,) = load(small, made).samples(0, 1, 0)
    lengths = [end for _, _, _, end in sample.spans]
    assert (sample.labels != -100).sum() == sum(lengths) - len(lengths)  # all but each document's BOS


def test_a_conversation_longer_than_the_row_is_left_out_and_counted(small: Small) -> None:
    corpus = small.corpus("reasoning")
    lengths = np.diff(corpus.offsets[: corpus.training_documents + 1])
    context = int(np.median(lengths))
    made = phase(small.source("reasoning"), objective="sft", packing="whole", context=context)
    data = load(small, made)
    assert data.left_out == {"reasoning": int((lengths > context).sum())}
    for sample in data.samples(0, 20, 0):
        assert [end for _, _, _, end in sample.spans] == [lengths[number] for _, number, _, _ in sample.spans]
        assert (sample.labels == IM_END).sum() == len(sample.spans)  # every answer is there to its end


def test_a_context_too_short_for_every_conversation_is_an_error(small: Small) -> None:
    made = phase(small.source("reasoning"), objective="sft", packing="whole", context=20)
    with pytest.raises(UserError, match=r"corpus reasoning, phase main: none of its \d+ documents fits into.* 20;"):
        load(small, made)


@pytest.mark.parametrize("tail", [90, 200])
def test_the_last_row_of_conversations_holds_whole_ones(small: Small, tail: int) -> None:
    made = phase(small.source("reasoning"), objective="sft", packing="whole", context=256)
    whole, last = load(small, made).samples(2, 2, tail)
    assert len(whole.tokens) == 256
    assert len(last.tokens) == tail
    assert (last.labels == IM_END).sum() == len(last.spans) > 0
    assert not {number for _, number, _, _ in whole.spans} & {number for _, number, _, _ in last.spans}


def test_a_last_row_too_short_for_any_conversation_is_padding(small: Small) -> None:
    made = phase(small.source("reasoning"), objective="sft", packing="whole", context=256)
    (row,) = load(small, made).samples(0, 1, 5)
    assert row.tokens.tolist() == [PAD] * 5
    assert row.labels.tolist() == [-100] * 5
    assert row.segments.tolist() == [-1] * 5
    assert row.spans == ()


def test_padding_is_neither_seen_nor_taught(small: Small) -> None:
    made = phase(small.source("reasoning"), packing="whole", context=300)
    for sample in load(small, made).samples(0, 5, 0):
        filled = sum(end for _, _, _, end in sample.spans)
        assert 0 < filled < 300
        assert (sample.tokens[filled:] == PAD).all()
        assert (sample.labels[filled:] == -100).all()
        assert (sample.segments[filled:] == -1).all()
        assert (sample.segments[:filled] >= 0).all()


# ------------------------------------------------------------------ pictures


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


@pytest.mark.parametrize("tail", [1, 5, 13, 32])
def test_the_tail_is_the_beginning_of_the_whole_sample(small: Small, tail: int) -> None:
    data = load(small, phase(small.source("math")))
    whole, cut = data.samples(4, 2, 0), data.samples(4, 2, tail)
    assert same(whole[0], cut[0])
    for name in ("tokens", "labels", "segments", "positions"):
        assert np.array_equal(getattr(cut[1], name), getattr(whole[1], name)[:tail])
    assert sum(end - start for _, _, start, end in cut[1].spans) == tail


@pytest.mark.parametrize("tail", range(1, 64, 3))
def test_a_tail_never_shows_half_a_picture(small: Small, tail: int) -> None:
    data = load(small, phase(small.source("digit_qa"), objective="joint", context=64))
    (sample,) = data.samples(0, 1, tail)
    assert len(sample.tokens) == tail
    assert (sample.tokens == IMAGE).sum() == cells(sample)


# ------------------------------------------------------------------ pairs


def pair_phase(small: Small, **changes):
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
