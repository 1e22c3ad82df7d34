"""Branches at a count of tokens: which counts, which stage a point is, what its key covers, where a scale puts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.rules.learning_rate import rate_is_continuous
from stages.check.run import make_context, run_pipeline
from stages.contract import ledger, schedule
from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved_training import Schedule
from tests.mutants import changes
from tests.unit.spec.small_project import edit

FIRST, SECOND, PIPELINE = "toy/first.yaml", "toy/second.yaml", "toy/pipeline.yaml"
STEP = 64 * 4096  # tokens of a step of the first phase of `first`, before its batch grows
AT = 1000 * STEP  # inside the first phase
DECAY = "  decay:\n    - {shape: linear, from: current, to: 0, until: 2B}\n  other:"
POINT = "first_at_262144k"


def branch(root: Path, at: str) -> Project:
    """The small project with `second` as a decay that starts from a point of `first`."""
    edit(root, SECOND, "  from: first\n", f"  from: first@{at}\n")
    edit(root, SECOND, "clock: continue", "clock: reset")
    edit(root, SECOND, "schedule: main", "schedule: decay")
    edit(root, PIPELINE, "  other:", DECAY)
    edit(root, PIPELINE, "until: 4B}\n  decay", "until: 2B}\n  decay")
    edit(root, PIPELINE, "tokens: 4B", "tokens: 2.3B")
    return Project.load(root)


def said(root: Path, at: str) -> SpecError:
    with pytest.raises(SpecError) as wrong:
        branch(root, at).resolve("toy", "paper")
    assert wrong.value.where.file == "specs/toy/second.yaml"
    assert wrong.value.key == "init.from"
    return wrong.value


def test_a_point_is_the_beginning_of_its_trunk(root: Path) -> None:
    found = branch(root, f"{AT}").resolve("toy", "paper")
    point, trunk, child = (found.stages[name] for name in (POINT, "first", "second"))
    assert list(found.stages) == ["first", POINT, "second", "release"]
    assert (point.trunk, point.parents, child.parents) == ("toy/first", (), (f"toy/{POINT}",))
    assert [phase.budget for phase in point.phases] == [AT]
    assert point.phases[0].sources == trunk.phases[0].sources, "the order of documents is a function of their stretches"
    own, whole = point.schedule, trunk.schedule
    assert own is not None
    assert whole is not None
    assert all(schedule.lr(own, clock) == schedule.lr(whole, clock) for clock in range(STEP, AT + 1, 37 * STEP))
    assert child.schedule is not None
    assert schedule.lr_before(child.schedule, 0) == schedule.lr(whole, AT), "`from: current` is the rate at the point"
    read = {source.corpus: source.end for source in trunk.phases[0].sources}
    assert all(source.start == read[source.corpus] for source in child.phases[0].sources), "nothing is read twice"


@pytest.mark.parametrize(
    ("at", "found", "allowed"),
    [
        (f"{AT + 1}", "where none of its steps ends", "first@262144K (262,144,000) or first@256256Ki (262,406,144)"),
        ("1K", "where none of its steps ends", "the nearest: first@256Ki (262,144)"),
        ("2.1B", "2,100,000,000, and first ends after 2,000,000,000", "counts up to 2B"),
        ("0", "'0'", "tokens"),
        ("soon", "'soon'", "tokens"),
    ],
)
def test_a_count_where_no_step_ends_is_refused_with_the_nearest(root: Path, at: str, found: str, allowed: str) -> None:
    error = said(root, at)
    assert found in error.found
    assert allowed in error.allowed


def test_the_end_of_a_phase_is_a_point_and_the_end_of_the_stage_is_the_stage(root: Path) -> None:
    at_phase = branch(root, "1B").resolve("toy", "paper").stages["first_at_1b"]
    assert len(at_phase.phases) == 1
    edit(root, SECOND, "first@1B", "first@2000M")
    whole = Project.load(root).resolve("toy", "paper")
    assert whole.refs["first_at_2b"] == "toy/first"
    assert whole.own == ("first", "second", "release")
    assert whole.stages["second"].parents == ("toy/first",)


@pytest.mark.parametrize("trunk", ["release", "nobody"])
def test_only_a_stage_that_trains_has_points(root: Path, trunk: str) -> None:
    edit(root, SECOND, "  from: first\n", f"  from: {trunk}@1B\n")
    with pytest.raises(SpecError, match="no stage that trains"):
        Project.load(root).resolve("toy", "paper")


def test_a_point_takes_no_name_that_a_stage_has(root: Path) -> None:
    (root / "specs/toy/first_at_1b.yaml").write_text("stage: first_at_1b\nbox: x\nkind: export\ninit: {from: first}\n")
    edit(root, PIPELINE, "[first, second", "[first, first_at_1b, second")
    edit(root, SECOND, "  from: first\n", "  from: first@1B\n")
    with pytest.raises(SpecError, match="there is a stage of that name"):
        Project.load(root).resolve("toy", "paper")


@pytest.mark.parametrize(
    ("old", "new", "keeps"),
    [
        ("budget: 1B\n    context: 8Ki", "budget: 1B\n    context: 4Ki", True),  # the phase after the point
        ("{after: 0.5B, batch: 128 seq}", "{after: 0.5B, batch: 256 seq}", True),  # a batch that grows after it
        ("{after: 0, batch: 64 seq}", "{after: 0, batch: 32 seq}", False),
    ],
)
def test_what_a_trunk_does_after_a_point_is_in_no_key_of_a_branch(root: Path, old: str, new: str, keeps: bool) -> None:
    before = branch(root, f"{AT}").resolve("toy", "paper").keys
    edit(root, FIRST, old, new)
    after = Project.load(root).resolve("toy", "paper").keys
    assert after["first"] != before["first"]
    assert (after[POINT] == before[POINT]) == (after["second"] == before["second"]) == keeps


def test_at_a_scale_a_point_lies_on_a_steps_end_as_far_in_the_schedule(root: Path) -> None:
    project = branch(root, f"{AT}")
    point = project.resolve("toy", "mini").stages[POINT]
    trunk = project.resolve("toy", "mini").stages["first"]
    at = sum(phase.budget for phase in point.phases)
    ends = [step.end for step in ledger.steps(trunk.phases[0])]
    assert at in ends
    wanted = trunk.phases[0].budget * AT / 10**9
    assert abs(at - wanted) <= min(abs(end - wanted) for end in ends) + ends[0] / 2, "min_piece moves it by less"


def jumps(project: Project) -> list[str]:
    return [f"{one.id} {one.observed}" for one in run_pipeline(project, "toy", "mini") if one.id in ("I-28", "spec")]


def test_at_a_scale_a_branch_may_begin_within_a_step_of_its_point(root: Path) -> None:
    """The count lies between two steps of the scale: the rates there differ, and no jump is found unless it is more."""
    project = branch(root, f"{AT + 17 * STEP}")
    found = project.resolve("toy", "mini").stages
    point, child = (next(one for name, one in found.items() if start in name) for start in ("first_at", "second"))
    assert point.schedule is not None
    assert child.schedule is not None
    ended = schedule.lr(point.schedule, point.schedule.pieces[-1].end)
    assert ended != schedule.lr_before(child.schedule, 0)
    assert jumps(project) == []
    edit(root, PIPELINE, "from: current, to: 0", "from: 3e-4, jump: lower, to: 0")
    assert jumps(Project.load(root)) == []
    moved = child.model_copy(update={"schedule": shifted(child.schedule, 1.5)})
    context = changes.with_stage(make_context(project, "toy", "mini"), child.name, schedule=moved.schedule)
    assert [one.id for one in rate_is_continuous(context)] == ["I-28"]


def shifted(one: Schedule, factor: float) -> Schedule:
    pieces = tuple(piece.model_copy(update={"first": piece.first * factor}) for piece in one.pieces)
    return one.model_copy(update={"pieces": pieces})
