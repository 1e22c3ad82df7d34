"""Budgets are met to the last unit, whatever the batch ramp; any border finds its step again."""

from hypothesis import given
from hypothesis import strategies as st

from stages.contract import ledger
from stages.spec.resolved_phases import Phase
from tests.unit.contract._make import phase


@st.composite
def phases(draw: st.DrawFn) -> Phase:
    thresholds = sorted(draw(st.lists(st.integers(1, 3000), max_size=4, unique=True)))
    batch = tuple((after, draw(st.integers(1, 9))) for after in [0, *thresholds])
    return phase(budget=draw(st.integers(1, 4000)), context=draw(st.integers(1, 16)), batch=batch)


@given(phases())
def test_steps_tile_the_budget_and_the_samples(drawn: Phase) -> None:
    at = sample = 0
    for index, step in enumerate(ledger.steps(drawn)):
        assert (step.index, step.start, step.first_sample) == (index, at, sample)
        positions = step.sequences * drawn.context - (drawn.context - step.tail if step.tail else 0)
        assert step.end - step.start == positions > 0
        at, sample = step.end, sample + step.sequences
    assert at == drawn.budget
    assert sample == ledger.samples(drawn)


@given(phases())
def test_only_the_last_step_is_partial(drawn: Phase) -> None:
    *full, _ = ledger.steps(drawn)
    assert all(step.tail == 0 for step in full)


@given(phases())
def test_each_step_has_the_size_its_start_asks_for(drawn: Phase) -> None:
    for step in ledger.steps(drawn):
        wanted = [rung.sequences for rung in drawn.batch if rung.after <= step.start][-1]
        if step.end < drawn.budget:
            assert step.sequences == wanted
        else:
            assert step.sequences <= wanted


@given(phases(), st.data())
def test_step_at_agrees_with_the_walk(drawn: Phase, data: st.DataObject) -> None:
    walked = list(ledger.steps(drawn))
    assert ledger.count(drawn) == len(walked)
    consumed = data.draw(st.integers(0, drawn.budget - 1))
    (expected,) = [step for step in walked if step.start <= consumed < step.end]
    assert ledger.step_at(drawn, consumed) == expected
