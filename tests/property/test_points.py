"""A stage cut anywhere is the beginning of itself: the same steps, rates, and choice of corpora."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.contract import ledger, schedule
from stages.contract.mixture import Mixture
from stages.spec.point_node import cut, cut_schedule
from stages.spec.points import borders
from stages.spec.resolved_phases import Phase, ShareRamp
from stages.spec.resolved_training import Schedule
from tests.property.test_ledger import phases
from tests.property.test_schedule import schedules
from tests.unit.contract._make import source
from tests.unit.train import tiny


@given(phases(), st.data())
def test_borders_are_the_ends_of_steps(drawn: Phase, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, drawn.budget))
    ends = [0, *(step.end for step in ledger.steps(drawn))]
    ramp = [(rung.after, rung.sequences * drawn.context) for rung in drawn.batch]
    assert borders(ramp, drawn.budget, at) == (max(e for e in ends if e <= at), min(e for e in ends if e >= at))


@given(st.lists(phases(), min_size=1, max_size=3), st.data())
def test_a_stage_cut_at_a_steps_end_has_the_steps_before_it(drawn: list[Phase], data: st.DataObject) -> None:
    clock, placed = 0, []
    for phase in drawn:
        placed.append(phase.model_copy(update={"clock_start": clock}))
        clock += phase.budget
    stage = tiny.stage({"llm": tiny.LLAMA}, tuple(placed), ("llm",))
    every = [(phase.clock_start + step.end, step) for phase in placed for step in ledger.steps(phase)]
    number = data.draw(st.integers(1, len(every)))
    end = every[number - 1][0]
    made = cut(stage, end)
    assert made.schedule is not None
    assert stage.schedule is not None
    assert [(phase.clock_start + step.end, step) for phase in made.phases for step in ledger.steps(phase)] == (
        every[:number]
    )
    assert [schedule.lr(made.schedule, clock) for clock, _ in every[:number]] == [
        schedule.lr(stage.schedule, clock) for clock, _ in every[:number]
    ]
    assert made == stage if number == len(every) else cut(cut(stage, every[-1][0]), end) == made


@given(schedules(), st.data())
def test_a_schedule_cut_anywhere_is_the_same_curve(drawn: Schedule, data: st.DataObject) -> None:
    end = data.draw(st.integers(1, drawn.pieces[-1].end))
    clock = data.draw(st.integers(0, end))
    made = cut_schedule(drawn, end)
    assert made.pieces[-1].end == end
    assert schedule.lr(made, clock) == schedule.lr(drawn, clock)
    earlier = data.draw(st.integers(1, end))
    assert cut_schedule(made, earlier) == cut_schedule(drawn, earlier), "cut twice is cut once"


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 300))
def test_a_phase_cut_picks_the_same_corpora(samples: int, at: int, over: int) -> None:
    share = ShareRamp(first=(1, 10), last=(3, 5), over=over)
    pictures = source(2, "multimodal", "pictures")
    drawn = tiny.phase("next_token", sources=(source(3), source(1, corpus="code"), pictures), share=share)
    whole = drawn.model_copy(update={"budget": (samples + at) * drawn.context})
    short = drawn.model_copy(update={"budget": at * drawn.context})
    assert [Mixture(short).pick(one) for one in range(at)] == [Mixture(whole).pick(one) for one in range(at)]
