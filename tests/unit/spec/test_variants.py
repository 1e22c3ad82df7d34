"""`variants:` of a stage: one stage for each value, from one file, with each mistake at its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.check.run import run_pipeline
from stages.errors import InvalidSpecs, SpecError
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.sync import params
from tests.unit.spec.small_project import edit

SECOND, PIPELINE = "toy/second.yaml", "toy/pipeline.yaml"
OTHER = ("schedules.other",)  # which nothing names in the small project
DECAY = "  decay:\n    - {shape: linear, from: current, to: 1e-5, until: 2B}\n  other:"


def sweep(root: Path, field: str, values: str, schedule: str = "decay", clock: str = "reset") -> Project:
    """The small project with a sweep over `second`, which decays, in place of it and of what starts from it."""
    edit(root, PIPELINE, "  other:", DECAY)
    edit(root, PIPELINE, "[first, second, release]", "[first, second]")
    edit(root, PIPELINE, "claims:\n  - {what: everything, tokens: 4B, lineage: second}\n", "")
    edit(root, PIPELINE, "until: 4B}\n  decay", "until: 2B}\n  decay")
    (root / "specs/toy/release.yaml").unlink()
    for name in ("pipeline", "second"):
        (root / f"specs/toy_variant/{name}.yaml").unlink()
    edit(root, SECOND, "clock: continue", f"clock: {clock}")
    edit(root, SECOND, "schedule: main", f"schedule: {schedule}\nvariants: {{field: {field}, values: {values}}}")
    return Project.load(root)


def stages(root: Path, field: str, values: str) -> dict[str, Stage]:
    return sweep(root, field, values).resolve("toy", "paper").stages


def last_rate(stage: Stage) -> float:
    assert stage.schedule is not None
    return stage.schedule.pieces[-1].last


def test_a_schedule_is_varied_and_nothing_else(root: Path) -> None:
    project = sweep(root, "schedules.decay.0.to", "{low: 1e-6, same: 1e-5}")
    found = project.resolve("toy", "paper").stages
    assert list(found) == ["first", "second_low", "second_same"]
    low, same = found["second_low"], found["second_same"]
    assert (last_rate(low), last_rate(same)) == (1e-6, 1e-5)
    alike = {"name", "schedule"}
    assert low.model_dump(exclude=alike) == same.model_dump(exclude=alike)
    wrong = [one for one in run_pipeline(project, "toy", "paper") if one.id in ("S-11", "I-03", "spec")]
    assert [one.at for one in wrong] == [("schedules.other",)], "which nothing named before"
    watched = params.watched(project, "toy/second_low", "paper")
    assert watched["specs/toy/second.yaml"] is None
    assert "schedules.decay" in (watched["specs/toy/pipeline.yaml"] or [])


def test_a_variant_with_the_written_value_has_the_key_of_the_stage_without_variants(root: Path, tmp_path: Path) -> None:
    project = sweep(root, "schedules.decay.0.to", "{low: 1e-6, same: 1e-5}")
    key = project.resolve("toy", "paper").keys["second_same"]
    edit(root, SECOND, "\nvariants: {field: schedules.decay.0.to, values: {low: 1e-6, same: 1e-5}}", "")
    assert Project.load(root).resolve("toy", "paper").keys["second"] == key


@pytest.mark.parametrize(
    ("field", "values", "read"),
    [
        ("optimizers.adamw.weight_decay", "{a: 0.1, b: 0.2}", lambda stage: stage.optimizer.weight_decay),
        ("phases.main.batch", "{a: 64 seq, b: 32 seq}", lambda stage: stage.phases[0].batch[0].sequences),
        ("phases.0.micro_batch", "{a: 1 seq, b: 2 seq}", lambda stage: stage.phases[0].micro_batch),
        ("seed", "{a: 1, b: 2}", lambda stage: stage.seed),
    ],
)
def test_any_single_value_of_a_stage_can_be_varied(
    root: Path, field: str, values: str, read: Callable[[Stage], object]
) -> None:
    found = stages(root, field, values)
    seen = [read(found[name]) for name in ("second_a", "second_b")]
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("field", "values", "key", "said"),
    [
        ("schedules.decay.1.to", "{a: 1e-5, b: 1e-6}", "variants.field", "'1' is not"),
        ("schedules.decay.0", "{a: 1e-5, b: 1e-6}", "variants.field", "no single value"),
        ("schedules.main.0.to", "{a: 1e-5, b: 1e-6}", "variants.field", "schedules.decay, which the stage names"),
        ("phases.mian.batch", "{a: 1 seq, b: 2 seq}", "variants.field", "'mian' is not"),
        ("init.optimizer", "{a: reset, b: inherit}", "variants.field", "init"),
        ("schedules.decay.0.to", "{a: 1e-5, b: fast}", "schedules.decay_b.0.to", "'fast'"),
        ("phases.main.batch", "{a: 1 seq, b: 2}", "phases.0.batch", "'2'"),
        ("seed", "{a: 1}", "variants.values", "1 entry at least 2 entries"),
        ("seed", "{a: 1, b: null}", "variants.values.b", "one value"),
        ("seed.more", "{a: 1, b: 2}", "variants.field", "seed.more, in which 'seed' is not"),
        (
            "schedules.decay.\N{SUPERSCRIPT TWO}.to",
            "{a: 1e-5, b: 1e-6}",
            "variants.field",
            "schedules.decay.\N{SUPERSCRIPT TWO}.to",
        ),
        ("schedules.decay", "{a: 1e-5, b: 1e-6}", "variants.field", "schedules.decay, which is no single value"),
        ("box", "{a: one, b: two}", "variants.field", "changes numbers"),
        ("evaluate.0", "{a: needle, b: loops}", "variants.field", "changes numbers"),
        ("phases.main.name", "{a: one, b: two}", "variants.field", "changes numbers"),
        ("optimizers.adamw.weight_decay", "{a: 0.1, b: 1e-1}", "variants.values.b", "the value of second_a"),
    ],
)
def test_each_mistake_is_at_its_line(root: Path, field: str, values: str, key: str, said: str) -> None:
    with pytest.raises(InvalidSpecs) as wrong:
        stages(root, field, values)
    error = wrong.value.errors[0]
    assert error.key == key
    assert said in f"{error.found} {error.allowed}"
    assert error.where.file == "specs/toy/second.yaml"


@pytest.mark.parametrize("claim", [False, True])
def test_what_names_a_sweep_is_told_the_stages_of_its_values(root: Path, claim: bool) -> None:
    """Its own name is that of the file, and of no stage."""
    sweep(root, "seed", "{a: 1, b: 2}")
    if claim:
        edit(root, PIPELINE, "models:", "claims:\n  - {what: all, tokens: 4B, lineage: second}\nmodels:")
    else:
        edit(root, PIPELINE, "[first, second]", "[first, second, out]")
        (root / "specs/toy/out.yaml").write_text("stage: out\nbox: Out\nkind: export\ninit: {from: second}\n")
    with pytest.raises(InvalidSpecs) as wrong:
        Project.load(root).resolve("toy", "paper")
    (error,) = wrong.value.errors
    assert (error.key, error.allowed) == ("claims.0" if claim else "init.from", "second_a, second_b")
    assert (error.found, error.repair) == ("'second', a sweep", "Name the stage of one of its values.")


def test_a_schedule_that_there_is_not_is_an_error_where_the_stage_names_it(root: Path) -> None:
    with pytest.raises(SpecError, match="the unknown schedule 'dekay'") as wrong:
        sweep(root, "schedules.dekay.0.to", "{a: 1e-5, b: 1e-6}", schedule="dekay").resolve("toy", "paper")
    assert (wrong.value.key, wrong.value.where.file) == ("schedule", "specs/toy/second.yaml")


def test_what_a_parent_has_read_of_a_schedule_is_not_varied(root: Path) -> None:
    with pytest.raises(SpecError, match="'main', on a clock that goes on") as wrong:
        sweep(root, "schedules.main.0.to", "{a: 1e-5, b: 1e-6}", schedule="main", clock="continue").resolve(
            "toy", "paper"
        )
    assert wrong.value.key == "variants.field"


def test_a_variant_takes_no_name_that_a_stage_has(root: Path) -> None:
    project = sweep(root, "seed", "{a: 1, b: 2}")
    assert "second_a" in project.resolve("toy", "paper").stages
    (root / "specs/toy/second_a.yaml").write_text("stage: second_a\nbox: x\nkind: export\ninit: {from: first}\n")
    edit(root, PIPELINE, "[first, second]", "[first, second, second_a]")
    with pytest.raises(SpecError, match="second_a, and there is a stage of that name"):
        Project.load(root).resolve("toy", "paper")


@pytest.mark.parametrize(
    ("field", "values", "found"),
    [
        ("schedules.decay.0.to", "{low: 1e-6, high: 1e-4}", ("schedules.decay.0.to", "1e-5", "pipeline.yaml")),
        ("schedules.decay.0.to", "{low: 1e-6, same: 0.00001}", None),
        ("optimizers.adamw.weight_decay", "{low: 0.01, high: 0.2}", None),  # toy/first reads it as it is written
        ("phases.main.micro_batch", "{low: 2 seq, high: 4 seq}", ("phases.main.micro_batch", "1 seq", "second.yaml")),
        ("seed", "{one: 1, two: 2}", None),
    ],
)
def test_the_value_that_a_sweep_replaces_is_one_of_its_own(
    root: Path, field: str, values: str, found: tuple[str, str, str] | None
) -> None:
    wrong = run_pipeline(sweep(root, field, values), "toy", "paper")
    there = [
        (one.at[0], one.found, Path(one.where.file).name)
        for one in wrong if one.id == "S-11" and one.at != OTHER and one.where
    ]  # fmt: skip
    assert there == ([found] if found else [])
