"""Samples: what the model sees and what it is taught, against independent counts over the documents."""

from __future__ import annotations

import numpy as np
import pytest

from stages.contract.mixture import Mixture
from stages.data.document import BOS, EOS
from stages.data.loading.sample import Sample
from stages.errors import UserError
from tests.unit.data.small import Small, load, phase


def windows(small: Small, name: str, context: int) -> int:
    return (small.corpus(name).manifest.size - 1) // context


def same(one: Sample, other: Sample) -> bool:
    arrays = ("tokens", "labels", "segments", "positions")
    return one.spans == other.spans and all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)


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
    assert read[:training] != read[training:]


def test_sources_take_turns_as_the_mixture_says(small: Small) -> None:
    """And each gives its own samples in its own order, none left out: those that it gives alone."""
    made = phase(small.source("math", weight=3), small.source("reasoning", weight=1))
    alone = [load(small, phase(source)).samples(0, 20, 0) for source in made.sources]
    mixture = Mixture(made)
    for i, sample in enumerate(load(small, made).samples(0, 20, 0)):
        source, ordinal = mixture.pick(i)
        assert sample.spans == alone[source][ordinal].spans
        assert {span[0] for span in sample.spans} == {made.sources[source].corpus}


def test_the_wrong_corpus_or_range_is_refused(small: Small) -> None:
    good = small.source("math")
    with pytest.raises(UserError, match=r"the stage wants f{64}"):
        load(small, phase(good.model_copy(update={"digest": "f" * 64})))
    with pytest.raises(UserError, match=r"training reaches from 0 to"):
        load(small, phase(good.model_copy(update={"end": good.end + 1})))  # the held-out documents begin there
    with pytest.raises(UserError, match="no document begins in"):
        load(small, phase(good.model_copy(update={"start": 1, "end": 2})))


@pytest.mark.parametrize("tail", [1, 5, 13, 32])
def test_the_tail_is_the_beginning_of_the_whole_sample(small: Small, tail: int) -> None:
    data = load(small, phase(small.source("math")))
    whole, cut = data.samples(4, 2, 0), data.samples(4, 2, tail)
    assert same(whole[0], cut[0])
    for name in ("tokens", "labels", "segments", "positions"):
        assert np.array_equal(getattr(cut[1], name), getattr(whole[1], name)[:tail])
    assert sum(end - start for _, _, start, end in cut[1].spans) == tail
