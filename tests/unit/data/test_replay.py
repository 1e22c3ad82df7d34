"""Text beside conversations in a fine-tuning phase: read in windows as in pre-training, every token of it learned."""

from __future__ import annotations

import numpy as np
import pytest

from stages.data.document import BOS
from stages.data.loading.sample import Sample
from stages.spec.resolved_phases import Phase
from tests.unit.data.small import Small, load, phase

CONTEXT = 128


@pytest.fixture
def mixed(small: Small) -> Phase:
    """Three rows of conversations for each of text."""
    sources = (small.source("reasoning", weight=3), small.source("math", weight=1))
    return phase(*sources, objective="sft", packing="whole", context=CONTEXT, budget=12 * CONTEXT)


def corpus(sample: Sample) -> str:
    (name,) = {name for name, *_ in sample.spans}
    return name


def test_rows_take_turns_as_the_mixture_says(small: Small, mixed: Phase) -> None:
    names = [corpus(sample) for sample in load(small, mixed).samples(0, 12, 0)]
    assert names.count("math") == 3
    assert names.count("reasoning") == 9
    assert mixed.replayed == ("math",)


def test_text_is_learned_to_its_last_token_and_of_conversations_only_the_answers(small: Small, mixed: Phase) -> None:
    for sample in load(small, mixed).samples(0, 12, 0):
        learned = sample.labels != -100
        if corpus(sample) == "math":
            assert (learned[:-1] == (sample.tokens[1:] != BOS)).all()  # all but what begins another document
        else:
            prepared = small.corpus("reasoning")
            assert prepared.supervised is not None
            said = [prepared.supervised[slice(*prepared.offsets[d : d + 2])].sum() for _, d, _, _ in sample.spans]
            assert learned.sum() == sum(said)


def test_replayed_text_fills_its_rows_and_leaves_no_document_out(small: Small, mixed: Phase) -> None:
    longest = int(np.diff(small.corpus("math").offsets[:]).max())
    narrow = mixed.model_copy(update={"context": longest - 1, "sources": mixed.sources[1:]})
    data = load(small, narrow)
    assert data.left_out == {}
    assert all((sample.segments >= 0).all() for sample in data.samples(0, 3, 0))


@pytest.mark.parametrize("last", range(12))
def test_a_cut_last_row_of_text_is_the_beginning_of_its_window(small: Small, mixed: Phase, last: int) -> None:
    data, tail = load(small, mixed), 100
    (whole,), (cut,) = data.samples(last, 1, 0), data.samples(last, 1, tail)
    assert len(cut.tokens) == tail
    if corpus(whole) == "math":
        assert (cut.tokens == whole.tokens[:tail]).all()
        assert (cut.labels == whole.labels[:tail]).all()
    else:
        assert corpus(cut) == "reasoning"


def test_a_short_row_is_taken_from_whichever_source_has_one_however_late_its_turn(small: Small, mixed: Phase) -> None:
    data = load(small, mixed)
    for number in range(8):  # no conversation has so few tokens, and text is cut
        (row,) = data.samples(number, 1, 5)
        assert corpus(row) == "math"
