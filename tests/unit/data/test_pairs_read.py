"""Prepared pairs as training reads them: both conversations in one row, their targets, and how they are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.commands import batch_text
from stages.data.loading import document_view
from stages.data.loading.loader import PhaseData
from stages.data.loading.sample import Sample
from stages.data.loading.trace import Trace
from stages.data.loading.windows import Windows
from stages.data.tokens.preference import BEGINS
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.guards.phase_log import PhaseLog
from stages.spec.resolved_phases import Phase, Preference
from tests.unit.data import small
from tests.unit.data.small import Small
from tests.unit.data.test_preference_rows import ROWS, pair, prepared

SETTINGS = Preference(loss="dpo", beta=0.1, answers="sum", turn_ends="learned", nll=0.0)
CONTEXT = 256


def phase(project: Small, **changes: Any) -> Phase:
    fields = {"objective": "preference", "packing": "whole", "preference": SETTINGS, "context": CONTEXT, **changes}
    return small.phase(project.source("mine"), **fields)


def sides(row: Sample) -> list[tuple[list[int], list[int]]]:
    """Tokens and targets of each conversation of a row."""
    numbers = range(int(row.segments.max()) + 1)
    parts = [(row.tokens[row.segments == number], row.labels[row.segments == number]) for number in numbers]
    return [(tokens.tolist(), labels[labels >= 0].tolist()) for tokens, labels in parts]


def test_both_conversations_of_a_pair_are_in_one_row_as_fine_tuning_reads_them(project: Small) -> None:
    prepared(project, ROWS)
    tokenizer = Heldout(project.data).tokenizer("mine")
    seen = set()
    for row in PhaseData(phase(project), 1, "p", project.data).samples(0, 8, 0):
        found = sides(row)
        assert len(found) == 2 * len(row.spans)
        begins = np.flatnonzero(np.diff(row.segments, prepend=-2))
        assert not row.positions[begins].any()
        for (chosen, right), (rejected, wrong) in zip(found[::2], found[1::2], strict=True):
            question = tokenizer.decode(chosen).partition("?")[0]
            assert question == tokenizer.decode(rejected).partition("?")[0]
            number = int(question.rpartition("\n")[2].partition(" ")[0])
            assert tokenizer.decode(right) == f"{number + 1}<|im_end|><eos>"
            assert tokenizer.decode(wrong) == f"not {number}<|im_end|><eos>"
            assert chosen[: -len(right)] == rejected[: -len(wrong)]
            seen.add(number)
    assert len(seen) > 10


def test_masked_turn_ends_are_no_targets(project: Small) -> None:
    corpus = prepared(project, ROWS)
    masked = phase(project, preference=SETTINGS.model_copy(update={"turn_ends": "masked"}))
    rows = PhaseData(masked, 1, "p", project.data).samples(0, 4, 0)
    learned = [label for row in rows for _, labels in sides(row) for label in labels]
    assert learned
    assert not {corpus.roles.turn_end, corpus.roles.eos} & set(learned)


@pytest.mark.parametrize("ends", ["learned", "masked"])
def test_the_recount_of_targets_and_of_beginnings_agrees(project: Small, ends: str) -> None:
    prepared(project, ROWS)
    made = phase(project, preference=SETTINGS.model_copy(update={"turn_ends": ends}))
    log = PhaseLog(made, PhaseData(made, 1, "p", project.data), project.data)
    rows = log.samples(0, 6, 0)
    log.taken()
    report = log.report()
    assert report.supervised_expected == sum(int((row.labels >= 0).sum()) for row in rows)
    assert report.bos == report.begun == sum(2 * len(row.spans) for row in rows)
    assert (report.outside, report.foreign) == (0, 0)


def test_a_cut_last_row_has_whole_pairs_and_is_traced(project: Small) -> None:
    corpus = prepared(project, ROWS)
    made = phase(project)
    longest = int(np.diff(corpus.offsets[:]).max())
    (row,) = PhaseData(made, 1, "p", project.data).samples(2, 1, longest)
    assert len(row.tokens) == longest
    assert len(sides(row)) % 2 == 0
    traced = Trace(made, [Windows(made, made.sources[0], 1, "p", corpus)]).row(2, longest)
    assert traced.spans == row.spans


def test_pairs_longer_than_the_context_are_left_out_as_a_whole_and_counted(project: Small) -> None:
    prepared(project, [*ROWS, *(pair(number, "so " * 200, "no") for number in range(50, 60))])
    data = PhaseData(phase(project), 1, "p", project.data)
    assert data.left_out["mine"] >= 5
    assert all(len(sides(row)) == 2 * len(row.spans) for row in data.samples(0, 4, 0))
    with pytest.raises(UserError, match=r"fits into the context of 32 \(of a pair, both answers with the prompt"):
        PhaseData(phase(project, context=32), 1, "p", project.data)


def test_a_pair_is_shown_with_both_answers(project: Small) -> None:
    corpus = prepared(project, ROWS)
    found = document_view.show(corpus, Heldout(project.data).tokenizer("mine"), 0)
    learned = [one.text for one in found.stretches if one.learned and not one.special]
    assert len(learned) == 2
    assert "not" in learned[1]


def test_the_text_of_a_batch_has_both_answers_of_each_pair_by_what_they_are(project: Small) -> None:
    prepared(project, ROWS)
    tokenizer = Heldout(project.data).tokenizer("mine")
    (row,) = PhaseData(phase(project), 1, "p", project.data).samples(0, 1, 0)
    parts = list(batch_text.documents(row, paired=True))
    assert [side for _, side, _, _ in parts] == ["chosen", "rejected"] * len(row.spans)
    assert [span for span, _, _, _ in parts[::2]] == list(row.spans)
    for _, side, tokens, learned in parts:
        assert tokenizer.decode(tokens[learned].tolist()).startswith("not ") is (side == "rejected")
        assert tokens[0] == tokenizer.roles.bos
    assert [side for _, side, _, _ in batch_text.documents(row, paired=False)] == [""] * len(row.spans)


def test_the_mask_says_where_the_rejected_conversation_begins(project: Small) -> None:
    corpus = prepared(project, ROWS)
    assert corpus.supervised is not None
    begins = np.flatnonzero(corpus.supervised == BEGINS)
    assert np.array_equal(np.searchsorted(corpus.offsets[:], begins, side="right") - 1, np.arange(corpus.documents))
    assert (corpus.tokens[begins] == corpus.roles.bos).all()
