"""Conversations in rows: exactly the answers are taught, and none is cut."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stages.data.document import EOS, IM_END, PAD
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import UserError
from tests.unit.data.small import Small, load, phase


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


def test_windows_of_conversations_end_with_padding_where_no_whole_one_is_left(small: Small) -> None:
    """Windows are more than rows of whole conversations where many of these are longer than the context."""
    context = int(np.median(np.diff(small.corpus("reasoning").offsets[:])))
    data = load(small, phase(small.source("reasoning"), objective="sft", packing="concatenate", context=context))
    last = data.supplies()[0].available - 1
    (row,) = data.samples(last, 1, context - 1)
    assert row.spans == ()


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
