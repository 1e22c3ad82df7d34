"""mini LR(t) = factor x paper LR(phi(t)): exact at every border, whatever the schedule."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.contract.schedule import lr
from stages.spec.clock_map import stretch
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule
from stages.spec.scales import _root
from stages.spec.schedule_layout import ScheduleError
from tests.unit.spec.small_project import edit


def resolved(root: Path, scale: str, pipeline: str = "toy") -> dict[str, Stage]:
    return Project.load(root).resolve(pipeline, scale).stages


def borders(stage: Stage) -> list[int]:
    return [phase.clock_start for phase in stage.phases] + [stage.phases[-1].clock_start + stage.phases[-1].budget]


def schedule_of(stage: Stage) -> Schedule:
    assert stage.schedule is not None
    return stage.schedule


def test_rates_at_phase_and_stage_borders_are_factor_times_the_papers(root: Path) -> None:
    paper, mini = resolved(root, "paper"), resolved(root, "mini")
    for name in ("first", "second"):
        for full, small in zip(borders(paper[name]), borders(mini[name]), strict=True):
            wanted = 10 * lr(schedule_of(paper[name]), full)
            assert lr(schedule_of(mini[name]), small) == pytest.approx(wanted, rel=1e-15)


def test_pieces_of_a_small_scale_are_the_papers_cut_at_the_same_progress(root: Path) -> None:
    paper, mini = resolved(root, "paper")["second"], resolved(root, "mini")["second"]
    for full, small in zip(schedule_of(paper).pieces, schedule_of(mini).pieces, strict=True):
        assert (small.shape, small.p0, small.p1) == (full.shape, full.p0, full.p1)
        assert (small.first, small.last) == (10 * full.first, 10 * full.last)


def test_pieces_touch_and_end_with_the_stage(root: Path) -> None:
    for stage in (resolved(root, scale)[name] for scale in ("paper", "mini") for name in ("first", "second")):
        pieces = schedule_of(stage).pieces
        assert pieces[0].start == 0
        assert all(a.end == b.start for a, b in pairwise(pieces))
        assert pieces[-1].end == borders(stage)[-1]


def test_a_length_in_steps_is_integrated_over_the_batch_ramp(root: Path) -> None:
    edit(root, "toy/pipeline.yaml", "for: 100 steps", "for: 2000 steps")
    # 1908 steps of 64 x 4096 tokens reach the threshold of 0.5B, the other 92 are of 128 x 4096
    assert schedule_of(resolved(root, "paper")["first"]).pieces[0].end == (1908 * 64 + 92 * 128) * 4096


def test_no_piece_is_shorter_than_declared(root: Path) -> None:
    edit(root, "toy/pipeline.yaml", "for: 100 steps", "for: 1 steps")
    stage = resolved(root, "mini")["first"]
    step = max(one.sequences for one in stage.phases[0].batch) * stage.phases[0].context
    assert schedule_of(stage).pieces[0].end == 2 * step


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=8), st.integers(1, 10**6), st.integers(0, 1000))
def test_stretches_sum_exactly_and_respect_the_minimum(widths: list[int], total: int, least: int) -> None:
    if max(least, 1) * len(widths) > total:
        with pytest.raises(ScheduleError):
            stretch(widths, total, least)
        return
    result = stretch(widths, total, least)
    assert sum(result) == total
    assert min(result) >= max(least, 1)
    assert all(
        b >= a - 1 for x, a in zip(widths, result, strict=True) for y, b in zip(widths, result, strict=True) if y >= x
    )


@given(st.integers(0, 10**40), st.integers(1, 7))
def test_integer_roots(value: int, degree: int) -> None:
    root = _root(value, degree)
    assert root**degree <= value < (root + 1) ** degree


def test_budgets_follow_the_declared_power_and_the_floor(root: Path) -> None:
    mini = resolved(root, "mini")
    assert [phase.budget for phase in mini["first"].phases] == [100_000, 100_000]
    assert mini["second"].phases[0].budget == 141_421  # 100K x sqrt(2)
    edit(root, "scales/mini.yaml", "floor: 8 steps", "floor: 300 steps")
    phase = resolved(root, "mini")["second"].phases[0]
    assert phase.budget == 300 * phase.batch[0].sequences * phase.context


def test_rope_keeps_its_ratio_of_wavelength_to_context(root: Path) -> None:
    paper, mini = resolved(root, "paper")["first"], resolved(root, "mini")["first"]
    ratios = [Fraction(stage.rope.base) / stage.phases[1].context for stage in (paper, mini) if stage.rope]
    assert len(ratios) == 2
    assert ratios[0] == ratios[1]


def test_current_is_the_rate_at_which_the_parent_ended(root: Path) -> None:
    edit(root, "toy/second.yaml", "schedule: main", "schedule: other")
    edit(root, "toy/second.yaml", "clock: continue", "clock: reset")
    for scale in ("paper", "mini"):
        stages = resolved(root, scale)
        ended = lr(schedule_of(stages["first"]), borders(stages["first"])[-1])
        assert schedule_of(stages["second"]).pieces[0].first == pytest.approx(ended, rel=1e-14)


def test_ranges_along_a_lineage_are_disjoint_and_hold_the_demand(root: Path) -> None:
    stages = resolved(root, "mini")
    phases = [phase for name in ("first", "second") for phase in stages[name].phases]
    for corpus, share in (("prose", Fraction(9, 10)), ("code", Fraction(1, 10))):
        ranges = [next(source for source in phase.sources if source.corpus == corpus) for phase in phases]
        assert all(a.end <= b.start for a, b in pairwise(ranges))
        for phase, source in zip(phases, ranges, strict=True):
            assert source.end - source.start >= share * phase.budget
