"""Rows are counted before step 1, exactly as they are read, and a phase that runs out of them is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contract import ledger
from stages.data.loading import rows
from stages.data.loading.loader import PhaseData
from stages.data.preparing import prepare
from stages.data.preparing.measured import packed_rows
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep, Phase
from tests.unit.data.small import Small, coca, load, phase, spec, write_spec
from tests.unit.train import tiny


def sft(small: Small, context: int, budget: int, epochs: int = 1) -> Phase:
    return phase(
        small.source("reasoning"), objective="sft", packing="whole", context=context, budget=budget, epochs=epochs
    )


def median(small: Small) -> int:
    corpus = small.corpus("reasoning")
    return int(np.median(np.diff(corpus.offsets[: corpus.training_documents + 1])))


def stage(*phases: Phase) -> Stage:
    return tiny.stage({"llm": tiny.LLAMA}, phases, ("llm",))


def readable(data: PhaseData, made: Phase) -> int:
    """Samples that can be read before the corpus is used up, by reading them."""
    for number in range(100_000):
        try:
            data.pairs(number, 1, 0) if made.objective == "coca" else data.samples(number, 1, 0)
        except UserError:
            return number
    raise AssertionError("no corpus is that long")


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize(("packing", "context"), [("whole", 256), ("whole", 80), ("concatenate", 64)])
def test_the_count_is_what_can_be_read(small: Small, packing: str, context: int, epochs: int) -> None:
    made = phase(small.source("reasoning"), packing=packing, context=context, epochs=epochs)
    data = load(small, made)
    (supply,) = data.supplies()
    assert supply.available == readable(data, made)


def test_documents_are_those_of_the_stretch(small: Small) -> None:
    offsets = small.corpus("reasoning").offsets
    made = phase(small.source("reasoning", int(offsets[20]), int(offsets[50])), packing="whole", context=256)
    (supply,) = load(small, made).supplies()
    assert (supply.documents, supply.unit) == (30, "rows")


def test_pairs_are_counted_up_to_the_cut_row(small: Small) -> None:
    made = phase(
        small.source("pairs"), objective="coca", unit="patches", context=16, budget=16 * 30 + 5, coca=coca((0, 8))
    )
    (supply,) = load(small, made).supplies()
    read = [load(small, made).pairs(number, 1, 5 if number == 30 else 0) for number in range(31)]
    assert ledger.samples(made) == 31
    assert supply.needed == sum(len(row.items) for (row,) in read)
    assert supply.available == small.corpus("pairs").manifest.size


def test_the_last_step_that_documents_longer_than_the_context_take_away_is_seen_before_the_first(small: Small) -> None:
    """One row more than there is, although the stretch has tokens for many more."""
    context = median(small)
    full = load(small, sft(small, context, context)).supplies()[0].available
    rows.refuse_short(stage(sft(small, context, full * context)), small.root, small.data)
    short = sft(small, context, full * context + 1)
    with pytest.raises(UserError) as caught:
        rows.refuse_short(stage(short), small.root, small.data)
    said = str(caught.value)
    left_out = load(small, short).left_out["reasoning"]
    assert f"tiny/box, phase main: {full + 1} rows of reasoning are needed, {full} are there in 1 epoch of [0, " in said
    assert f"; {left_out} of its " in said
    assert f"longer than the context of {context} and left out. Nothing was trained." in said
    assert "`stages data reasoning --accept` prints `packed`" in said
    assert "more epochs" not in said  # nobody knows whether they would be enough


def test_every_phase_and_every_source_is_counted(small: Small) -> None:
    mixed = phase(small.source("math"), small.source("reasoning"), context=64, budget=10**7)
    good = phase(small.source("math"), context=64, budget=640)
    with pytest.raises(UserError) as caught:
        rows.refuse_short(stage(good, mixed), small.root, small.data)
    assert [line.split(" rows of ")[1].split()[0] for line in str(caught.value).splitlines()] == ["math", "reasoning"]


def test_measured_rows_are_those_of_a_fixed_plan(small: Small) -> None:
    measured = packed_rows(small.corpus("reasoning"))
    assert packed_rows(small.corpus("pairs")) == {}
    for context, one in measured.items():
        made = sft(small, context, context, epochs=2).model_copy(update={"packing": "fixed"})
        data = load(small, made)
        read = [data.samples(number, 1, 0)[0] for number in range(2 * one.rows)]
        assert data.supplies()[0].available == 2 * one.rows
        assert sum(int((sample.segments >= 0).sum()) for sample in read) == 2 * one.tokens
    assert measured[max(measured)].rows == 1
    assert measured[max(measured)].tokens == small.corpus("reasoning").manifest.size


def test_a_document_of_exactly_the_context_fits(small: Small) -> None:
    corpus = small.corpus("reasoning")
    lengths = np.diff(corpus.offsets[: corpus.training_documents + 1])
    for context in (int(lengths.min()), int(lengths.max())):
        (supply,) = load(small, sft(small, context, context)).supplies()
        assert supply.left_out == int((lengths > context).sum())
    assert supply.left_out == 0


def test_a_fixed_plan_reads_every_document_once_an_epoch_in_rows_that_change_their_order_only(small: Small) -> None:
    made = sft(small, 128, 128, epochs=2).model_copy(update={"packing": "fixed"})
    data = load(small, made)
    each = data.supplies()[0].available // 2
    epochs = [[tuple(sample.spans) for sample in data.samples(first, each, 0)] for first in (0, each)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])
    documents = [span[1] for row in epochs[0] for span in row]
    assert sorted(documents) == list(range(small.corpus("reasoning").training_documents))
    other = PhaseData(made, 2, "p/s/main", small.data)
    assert [tuple(sample.spans) for sample in other.samples(0, each, 0)] != epochs[0]


def test_a_declared_measure_that_is_not_what_comes_out_is_refused(
    small: Small, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("measured")
    write_spec(
        root, "tokenizer", {"tokenizer": "t", "vocab": 300, "digest": "0" * 64, "corpora": ["math"], "characters": 4000}
    )
    write_spec(root, "math", spec("math"))
    project = replace(small, root=root, data=root / "prepared")
    prepare.prepare(root, "tokenizer", project.data / "tokenizer", accept=True)
    made = prepare.prepare(root, "math", project.data / "math", accept=True)
    measured = packed_rows(project.corpus("math"))[128]
    fields = {name: getattr(made, name) for name in ("digest", "size", "documents", "longest", "heldout")}
    tokens = {"tokenizer": "t", "vocab": 300, "corpora": ["math"], "characters": 4000, "digest": made.tokenizer}
    write_spec(root, "tokenizer", tokens)
    for rows_declared, fails in ((measured.rows, False), (measured.rows + 1, True)):
        packed = {128: {"rows": rows_declared, "tokens": measured.tokens}}
        write_spec(root, "math", spec("math", **fields, packed=packed))
        if not fails:
            prepare.prepare(root, "math", project.data / "math")
            continue
        with pytest.raises(
            UserError, match=rf"packed\.128: declared {measured.rows + 1} rows, .* built {measured.rows} rows"
        ):
            prepare.prepare(root, "math", project.data / "math")


def by_row(small: Small, sequences: int, budget: int) -> Phase:
    return sft(small, 256, budget).model_copy(update={"batch": (BatchStep(after=0, sequences=sequences),)})


@pytest.mark.parametrize("room", [1, 7])
def test_a_last_step_without_room_for_a_conversation_is_seen_before_the_first(small: Small, room: int) -> None:
    """One row a step, and the last step is the beginning of a row: too short for every conversation."""
    with pytest.raises(UserError) as caught:
        rows.refuse_short(stage(by_row(small, 1, 3 * 256 + room)), small.root, small.data)
    said = str(caught.value)
    assert f"tiny/box, phase main: its last step is {room} of the 256 positions of one row" in said
    assert "Nothing was trained. Make the budget a multiple of the context" in said
    assert "`whole_rows: true`" in said


@pytest.mark.parametrize(("sequences", "room"), [(1, 0), (1, 200), (2, 1)])
def test_a_last_step_with_a_conversation_is_trained(small: Small, sequences: int, room: int) -> None:
    """Whole rows, a part with room for one, or a part beside a whole row."""
    rows.refuse_short(stage(by_row(small, sequences, 3 * 256 + room)), small.root, small.data)
