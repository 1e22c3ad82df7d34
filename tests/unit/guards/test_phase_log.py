"""What a phase's record says of the rows that were read, beside the same counted token by token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.data.loading.sample import Sample
from stages.guards.phase_log import PhaseLog
from stages.guards.reads import Reads
from stages.guards.report import PhaseReads
from stages.spec.resolved_phases import Phase
from tests.unit.data.small import Small, half, load, phase
from tests.unit.train import tiny


def text(small: Small, **changes: Any) -> Phase:
    """Windows that begin and end inside of documents; the last row is cut."""
    return phase(small.source("math"), **{"budget": 32 * 21 + 5, **changes})


def mixed(small: Small) -> Phase:
    """Text beside pictures."""
    sources = small.source("math"), small.source("captions")
    return phase(*sources, budget=96 * 16, context=96, objective="joint", share=half())


def answers(small: Small) -> Phase:
    """Conversations, whole."""
    return phase(small.source("reasoning"), budget=96 * 12, context=96, objective="sft", packing="whole")


def pairs(small: Small) -> Phase:
    """Two answers each; what ends a turn is not learned."""
    settings = tiny.PREFERENCE.model_copy(update={"turn_ends": "masked"})
    return phase(
        small.source("preferences"), budget=96 * 8, context=96, objective="preference", packing="whole",
        preference=settings,
    )  # fmt: skip


def read(small: Small, made: Phase, log: PhaseLog) -> list[Sample]:
    """Every row of the phase, step by step."""
    rows = []
    for step in ledger.steps(made):
        rows += log.samples(step.first_sample, step.sequences, step.tail)
        log.taken()
    return rows


def times(report: PhaseReads, corpus: str) -> Counter[int]:
    """How often each token of a corpus was read."""
    return Counter({at: often for start, end, often in report.segments[corpus] for at in range(start, end)})


@pytest.mark.parametrize("kind", [text, mixed, answers, pairs])
def test_tokens_targets_and_sources_are_those_of_the_rows(small: Small, kind: Callable[[Small], Phase]) -> None:
    made = kind(small)
    log = PhaseLog(made, load(small, made), small.data)
    rows = read(small, made, log)
    found = log.report()
    assert found.supervised_expected == sum(int((row.labels != -100).sum()) for row in rows) > 0
    assert found.picked == tuple(Mixture(made).pick(i)[0] for i in range(len(rows)))
    assert (found.outside, found.foreign, found.bos) == (0, 0, found.begun)
    for source in made.sources:
        offsets, expected = small.corpus(source.corpus).offsets, Counter[int]()
        for name, document, start, end in (span for row in rows for span in row.spans):
            if name == source.corpus:
                expected.update(range(int(offsets[document]) + start, int(offsets[document]) + end))
        assert times(found, source.corpus) == expected


def test_what_a_checkpoint_says_was_read_is_said_again(small: Small) -> None:
    made = text(small)
    kept = PhaseReads({"math": ((0, 10, 2), (10, 12, 1))}, (0, 0, 0), 3, bos=4, begun=5, outside=6, foreign=7)
    log = PhaseLog(made, load(small, made), small.data)
    log.restore(kept)
    assert log.report() == kept


def test_reports_on_the_way_change_nothing_and_leave_one_array_a_corpus(small: Small) -> None:
    """Every checkpoint has one; a long phase would keep an array for each of millions of rows."""
    made = text(small)
    log, one = PhaseLog(made, load(small, made), small.data), PhaseLog(made, load(small, made), small.data)
    for first in range(0, 12, 4):
        for each in (log, one):
            each.samples(first, 4, 0)
            each.taken()
        log.report()
        assert {len(parts) for parts in log._total.read.values()} == {1}
    assert max(map(len, one._total.read.values())) > 1
    assert log.report() == one.report()


def test_rows_read_ahead_count_in_their_order_once_they_are_trained_on(small: Small) -> None:
    made = text(small)
    log, one = PhaseLog(made, load(small, made), small.data), PhaseLog(made, load(small, made), small.data)
    log.samples(0, 4, 0)
    log.samples(4, 4, 0)
    one.samples(0, 4, 0)
    for each in (log, one):
        each.taken()
    assert log.report() == one.report()


def test_a_record_goes_on_from_what_a_checkpoint_has_of_it_also_of_a_second_epoch(small: Small) -> None:
    end = int(small.corpus("math").offsets[12])
    made = text(small, sources=(small.source("math", end=end),), epochs=2, budget=2 * 32 * ((end - 1) // 32))
    log = PhaseLog(made, load(small, made), small.data)
    read(small, made, log)
    found, again = log.report(), PhaseLog(made, load(small, made), small.data)
    again.restore(found)
    assert max(often for _, _, often in found.segments["math"]) == 2
    assert again.report() == found


def test_rows_beyond_a_source_s_stretch_and_rows_that_lack_tokens_are_counted(small: Small) -> None:
    offsets = small.corpus("math").offsets
    first, second = (0, int(offsets[40])), (int(offsets[40]), int(offsets[80]))
    made, later = (text(small, sources=(small.source("math", *one),), budget=32 * 8) for one in (first, second))
    log = PhaseLog(made, load(small, later), small.data)
    assert sum(len(row.spans) for row in read(small, made, log)) == log.report().outside > 0

    class Short:
        def samples(self, first: int, count: int, tail: int) -> list[Sample]:
            return [replace(row, tokens=row.tokens[:-3]) for row in load(small, made).samples(first, count, tail)]

        pairs: Any = None

    log = PhaseLog(made, Short(), small.data)
    assert 3 * len(read(small, made, log)) == log.report().foreign


def test_what_is_handed_on_and_counted_is_also_what_was_read_above_and_twice(small: Small, tmp_path: Path) -> None:
    """And a checkpoint's record is gone on from, not begun again."""
    end = int(small.corpus("math").offsets[12])
    made = text(small, sources=(small.source("math", end=end),), epochs=2, budget=2 * 32 * ((end - 1) // 32))
    before = Reads({"math": [(end, end + 5)], "other": [(0, 7)]})
    rows = before.watch(made, load(small, made), small.data)
    for step in ledger.steps(made):
        rows.samples(step.first_sample, step.sequences, step.tail)
        before.taken()
    last = 32 * ((end - 1) // 32)
    assert before.tokens() == [{"math": 2 * last}]
    assert before.handed_on() == {"math": [(0, last), (end, end + 5)], "other": [(0, 7)]}
    before.kept()(tmp_path / "reads.json")
    after = Reads(before.lineage)
    after.load(tmp_path / "reads.json", 0)
    after.watch(made, load(small, made), small.data)
    assert after.report() == before.report()
