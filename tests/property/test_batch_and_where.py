"""A step's documents are those that the loader hands to the model, token by token; and `where` inverts that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.contract import ledger, order
from stages.contract.mixture import Mixture
from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.data.loading.sample import PADDING, Sample
from stages.errors import UserError
from stages.forensics.batch import batch, trace
from stages.forensics.where import Read, Unread, where
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep, Phase, ShareRamp, Source
from tests.unit.contract._make import phase as bare
from tests.unit.contract._make import source as weighed
from tests.unit.data.adopted_tokens import DOCUMENTS, accept, declare, root, write
from tests.unit.data.small import Small, build, coca, phase
from tests.unit.train import tiny

__all__ = ["root"]  # a fixture
KINDS = {"next_token": ("math",), "joint": ("math", "captions", "digit_qa"), "sft": ("reasoning", "math")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("forensics"))


@given(st.integers(1, 1 << 62), st.integers(0, 2**32), st.data())
def test_a_permutation_inverts(n: int, seed: int, data: st.DataObject) -> None:
    permutation = order.Permutation(n, order.key(seed, "test"))
    value = data.draw(st.integers(0, n - 1))
    assert permutation.inverse(permutation(value)) == value
    assert permutation(permutation.inverse(value)) == value


SHARES = st.fractions(0, 1, max_denominator=50)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6), st.lists(st.integers(1, 40), max_size=6),
    SHARES, SHARES, st.integers(0, 300), st.integers(0, 10**12),
)  # fmt: skip
def test_a_mixture_inverts(text: list[int], pictures: list[int], first: Any, last: Any, over: int, far: int) -> None:
    sources = tuple(map(weighed, text)) + tuple(weighed(weight, "multimodal") for weight in pictures)
    share = ShareRamp(
        first=(first.numerator, first.denominator), last=(last.numerator, last.denominator), over=over
    )  # fmt: skip
    mixture = Mixture(bare(sources=sources, share=share if pictures else None))
    for i in (*range(60), far):
        source, ordinal = mixture.pick(i)
        assert mixture.place(source, ordinal, i + 1) == i
        assert mixture.place(source, ordinal, i) is None  # not among the samples before it


@given(
    st.integers(1, 5000), st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 9)), max_size=3, unique_by=lambda one: one[0]),
)  # fmt: skip
def test_steps_are_found_by_their_number(budget: int, context: int, more: list[tuple[int, int]]) -> None:
    rungs = (BatchStep(after=0, sequences=3), *(BatchStep(after=a + 1, sequences=s) for a, s in sorted(more)))
    made = phase(budget=budget, context=context, batch=rungs)
    found = [ledger.step_of((made, made), number) for number in range(1, 2 * ledger.count(made) + 1)]
    steps = list(ledger.steps(made))
    assert found == [(0, step) for step in steps] + [(1, step) for step in steps]
    for outside in (0, -1, 2 * ledger.count(made) + 1):
        with pytest.raises(ValueError, match="no step"):
            ledger.step_of((made, made), outside)


@st.composite
def phases(draw: st.DrawFn, small: Small) -> Phase:
    """Any objective of rows of tokens, any packing, epochs, stretches, weights, batch ramps, and a last cut row."""
    objective = draw(st.sampled_from(sorted(KINDS)))
    names = draw(st.lists(st.sampled_from(KINDS[objective]), min_size=1, max_size=3, unique=True))
    sources = []
    for name in names:
        size = small.corpus(name).manifest.size
        start = draw(st.integers(0, size // 2))
        end = draw(st.integers(start + size // 9, start + size // 3))
        sources.append(small.source(name, start, end, draw(st.integers(1, 5))))
    both = len({source.group for source in sources}) == 2
    context = draw(st.integers(24, 200)) if objective != "joint" else draw(st.integers(120, 250))
    return phase(
        *sources, objective=objective, context=context, epochs=draw(st.integers(1, 3)),
        packing=draw(st.sampled_from(["concatenate", "whole", "fixed"])), document_mask=draw(st.booleans()),
        batch=(BatchStep(after=0, sequences=draw(st.integers(1, 4))),
               BatchStep(after=draw(st.integers(1, 2000)), sequences=draw(st.integers(1, 6)))),
        share=ShareRamp(first=(1, 5), last=(2, 3), over=7) if both else None,
    )  # fmt: skip


def opened(small: Small, made: Phase, seed: int, drawn: st.DataObject) -> Stage:
    """A stage of one phase, with a budget that reaches into the last epoch as often as not, and a last cut row.

    Phases that run out of documents are left out.
    """
    try:
        data = PhaseData(made, seed, scope(made), small.data)
    except UserError:
        assume(False)
    all_weights = sum(source.weight for source in made.sources)
    rows = min(one.available * all_weights // one.source.weight for one in data.supplies())
    budget = drawn.draw(st.integers(1, max(1, rows * made.context)))
    made = made.model_copy(update={"budget": min(budget, 200 * made.context)})
    data = PhaseData(made, seed, scope(made), small.data)
    assume(all(supply.needed <= supply.available for supply in data.supplies()))
    return tiny.stage({"llm": tiny.LLAMA}, (made,), ("llm",), seed=seed)


@given(drawn=st.data(), seed=st.integers(0, 1000))
def test_a_step_s_spans_are_what_the_loader_hands_over(small: Small, drawn: st.DataObject, seed: int) -> None:
    stage = opened(small, drawn.draw(phases(small)), seed, drawn)
    (made,) = stage.phases
    data = PhaseData(made, seed, scope(made), small.data)
    number = drawn.draw(st.integers(1, ledger.count(made)))
    found = batch(stage, number, small.data)
    assert (found.absent, found.clock) == ((), made.clock_start + found.step.end)
    handed = data.samples(found.step.first_sample, found.step.sequences, found.step.tail)
    assert [row.spans for row in found.rows] == [sample.spans for sample in handed]
    for sample in handed:
        assert_tokens_are(small, sample)


def assert_tokens_are(small: Small, sample: Sample) -> None:
    """The spans of a row, read from the corpora, are its tokens; what follows is padding."""
    opened = {name: small.corpus(name) for name, *_ in sample.spans}
    read = [opened[name].tokens[slice(*(opened[name].offsets[d] + [a, b]))] for name, d, a, b in sample.spans]
    tokens = np.concatenate([np.zeros(0, dtype=np.int64), *read])
    torn = sample.segments[: len(tokens)] == PADDING  # a picture that a cut row holds a part of
    assert np.array_equal(sample.tokens[: len(tokens)][~torn], tokens[~torn])
    assert (sample.segments[len(tokens) :] == PADDING).all()


@given(drawn=st.data(), seed=st.integers(0, 1000))
def test_where_finds_every_step_of_a_batch_and_no_other(small: Small, drawn: st.DataObject, seed: int) -> None:
    stage = opened(small, drawn.draw(phases(small)), seed, drawn)
    (made,) = stage.phases
    corpus = drawn.draw(st.sampled_from([source.corpus for source in made.sources]))
    expected: dict[int, list[tuple[int, int, int, int]]] = {}
    for number in range(1, ledger.count(made) + 1):
        for place, row in enumerate(batch(stage, number, small.data).rows, 1):
            for name, document, start, end in row.spans or ():
                if name == corpus and start < end:
                    expected.setdefault(document, []).append((number, place, start, end))
    documents = drawn.draw(st.lists(st.integers(0, small.corpus(corpus).documents - 1), max_size=5))
    for document in {*documents, *list(expected)[:5], *list(expected)[-5:]}:
        found = list(where([stage], corpus, document, small.data))
        reads = [one for one in found if isinstance(one, Read)]
        assert [(one.step, one.row, one.start, one.end) for one in reads] == expected.get(document, [])
        assert all(1 <= one.epoch <= made.epochs for one in reads)
        assert reads or isinstance(found[0], Unread)


@given(drawn=st.data(), seed=st.integers(0, 1000))
def test_a_stage_of_several_phases_is_inverted_over_all_of_its_steps(
    small: Small, drawn: st.DataObject, seed: int
) -> None:
    """Each phase has its own corpora, objective, packing and epochs; a document may be read by several."""
    count = drawn.draw(st.integers(2, 3))
    made = [opened(small, drawn.draw(phases(small)), seed, drawn).phases[0] for _ in range(count)]
    named = [one.model_copy(update={"name": f"part{number}"}) for number, one in enumerate(made)]
    stage = tiny.stage({"llm": tiny.LLAMA}, tuple(named), ("llm",), seed=seed)
    number = drawn.draw(st.integers(1, sum(map(ledger.count, stage.phases))))
    found = batch(stage, number, small.data)
    spans = {(place, *span) for place, row in enumerate(found.rows, 1) for span in row.spans or () if span[2] < span[3]}
    for place, corpus, document, start, end in sorted(spans)[:3]:
        reads = [one for one in where([stage], corpus, document, small.data) if isinstance(one, Read)]
        assert (found.phase.name, number, place, start, end) in [
            (one.phase, one.step, one.row, one.start, one.end) for one in reads
        ]
        for one in reads[:20]:
            there = batch(stage, one.step, small.data)
            assert there.phase.name == one.phase
            assert (corpus, document, one.start, one.end) in (there.rows[one.row - 1].spans or ())


def test_token_files_that_are_not_copied_are_inverted_too(root: Path) -> None:
    """The order of their documents is a hash's, not the files'."""
    write(root / "lake/a", DOCUMENTS[:25])
    write(root / "lake/b", DOCUMENTS[25:], "<i4")
    declare(root, ["lake/b", "lake/a"])
    made = accept(root)
    data = root / "results/mini/data"
    source = Source(corpus="mine", group="text", weight=1, start=0, end=made.size, digest=made.digest, kind="text")
    one = phase(source, context=24, budget=24 * 20 + 7, epochs=2, batch=(BatchStep(after=0, sequences=3),))
    stage = tiny.stage({"llm": tiny.LLAMA}, (one,), ("llm",))
    expected: dict[int, list[tuple[int, int, int, int]]] = {}
    for number in range(1, ledger.count(one) + 1):
        found = batch(stage, number, data)
        handed = PhaseData(one, stage.seed, scope(one), data).samples(
            found.step.first_sample, found.step.sequences, found.step.tail
        )
        assert [row.spans for row in found.rows] == [row.spans for row in handed]
        for place, row in enumerate(found.rows, 1):
            for _, document, start, end in row.spans or ():
                if start < end:
                    expected.setdefault(document, []).append((number, place, start, end))
    assert len(expected) > 20
    for document in range(made.documents):
        reads = [one for one in where([stage], "mine", document, data) if isinstance(one, Read)]
        assert [(one.step, one.row, one.start, one.end) for one in reads] == expected.get(document, [])


@given(context=st.integers(20, 60), budget=st.integers(1, 9000), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_pairs_are_found_too(small: Small, context: int, budget: int, epochs: int, seed: int) -> None:
    made = phase(
        small.source("pairs", 20, 200), objective="coca", unit="patches", context=context, budget=budget,
        epochs=epochs, coca=coca((0, 8), (budget // 2 + 1, 16)), batch=(BatchStep(after=0, sequences=2),),
    )  # fmt: skip
    data = PhaseData(made, seed, scope(made), small.data)
    assume(all(supply.needed <= supply.available for supply in data.supplies()))
    stage = tiny.stage({"llm": tiny.LLAMA}, (made,), ("llm",), seed=seed)
    expected: dict[int, list[tuple[int, int]]] = {}
    for number in range(1, ledger.count(made) + 1):
        found = batch(stage, number, small.data)
        handed = data.pairs(found.step.first_sample, found.step.sequences, found.step.tail)
        assert [[span[:2] for span in row.spans or ()] for row in found.rows] == [list(row.items) for row in handed]
        for place, row in enumerate(handed, 1):
            for _, item in row.items:
                expected.setdefault(item, []).append((number, place))
    for item in (0, 19, 20, 99, 199, 200):
        reads = [one for one in where([stage], "pairs", item, small.data) if isinstance(one, Read)]
        assert [(one.step, one.row) for one in reads] == expected.get(item, [])


def test_what_is_not_prepared_is_not_known_and_the_rest_is(small: Small, tmp_path: Path) -> None:
    absent = Source(corpus="elsewhere", group="text", weight=3, start=0, end=10**13, digest="0" * 64, kind="text")
    batches = (BatchStep(after=0, sequences=64),)
    made = phase(small.source("math"), absent, budget=8 * 10**12, context=32, batch=batches)
    stage = tiny.stage({"llm": tiny.LLAMA}, (made,), ("llm",))
    found = batch(stage, 3, small.data)
    assert found.absent == ("elsewhere",)
    assert {row.source for row in found.rows if row.spans is None} == {1}
    assert sum(row.source == 1 for row in found.rows) == 48
    assert trace(made, 1, tmp_path).row(0, 0).spans is None


@pytest.mark.parametrize("seed", range(6))
def test_every_conversation_of_three_epochs_is_found_and_those_of_the_last_cut_row(small: Small, seed: int) -> None:
    """Epochs that are packed again differ in their number of rows, and a cut row holds other conversations."""
    made = phase(
        small.source("reasoning", 0, 4000), objective="sft", packing="whole", epochs=3, context=200,
        batch=(BatchStep(after=0, sequences=3),),
    )  # fmt: skip
    (supply,) = PhaseData(made, seed, scope(made), small.data).supplies()
    made = made.model_copy(update={"budget": (supply.available - 2) * 200 - 120})
    stage = tiny.stage({"llm": tiny.LLAMA}, (made,), ("llm",), seed=seed)
    expected: dict[int, list[tuple[int, int]]] = {}
    for number in range(1, ledger.count(made) + 1):
        for place, row in enumerate(batch(stage, number, small.data).rows, 1):
            for _, document, _, _ in row.spans or ():
                expected.setdefault(document, []).append((number, place))
    for document in range(small.corpus("reasoning").documents):
        reads = [one for one in where([stage], "reasoning", document, small.data) if isinstance(one, Read)]
        assert [(one.step, one.row) for one in reads] == expected.get(document, [])
