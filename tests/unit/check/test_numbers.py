"""Numbers that a schedule gives beside the learning rate: what is laid, and what I-03, I-04, I-28, I-36, S-07 say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run
from stages.contract import layouts, numbers
from stages.errors import SpecError
from stages.spec.key import phase_keys
from stages.spec.project import Project
from stages.spec.resolved_parallel import Parallel
from tests.edits import edit as edit_file
from tests.edits import replaced
from tests.unit.check.reported import only
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit

PIPELINE, SECOND = "toy/pipeline.yaml", "toy/second.yaml"
LINEAR = "{shape: linear, to: 0.4, until: 4B}"
DECAY = "    - {shape: constant, from: 0.1, until: 1B}\n    - " + LINEAR + "\n"
RULES = {"I-03", "I-04", "I-05", "I-28", "I-35", "I-36", "S-07"}


def toy(folder: Path, pieces: str = DECAY, *edits: tuple[str, str, str]) -> Project:
    """The small project with a scheduled weight decay."""
    small_project.write(folder)
    edit(folder, PIPELINE, "weight_decay: 0.1", "weight_decay: {schedule: decay}")
    edit(folder, PIPELINE, "schedules:\n", f"schedules:\n  decay:\n{pieces}")
    for file, old, new in edits:
        edit(folder, file, old, new)
    return Project.load(folder)


def findings(project: Project, scale: str = "paper") -> list[Finding]:
    return [one for one in unwaived(run(project, scale, RULES)) if one.stage.startswith("toy/")]


def other_optimizer(decay: str) -> tuple[tuple[str, str, str], ...]:
    """The second stage has an optimizer of its own."""
    again = (
        f"  mine: {{kind: adamw, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: {decay}, decay: matrices, clip: 1}}"
    )
    return (PIPELINE, "schedules:\n", f"{again}\nschedules:\n"), (SECOND, "optimizer: adamw", "optimizer: mine")


@pytest.mark.parametrize("scale", ["paper", "mini"])
def test_a_schedule_is_read_on_along_the_lineage_with_the_same_values_at_every_scale(
    tmp_path: Path, scale: str
) -> None:
    project = toy(tmp_path)
    stages = project.resolve("toy", scale).stages
    first, second = (
        next(one for one in numbers.readings(stages[name]) if one.name == "weight_decay")
        for name in ("first", "second")
    )
    assert first.first == 0.1
    assert first.last == pytest.approx(0.2)
    assert (second.first, second.last) == (first.last, 0.4)
    assert numbers.edge(stages["first"], stages["second"]) == {"weight_decay": (first.last, first.last)}
    assert findings(project, scale) == []


def test_a_phase_s_key_does_not_know_what_a_schedule_does_later(tmp_path: Path) -> None:
    late = "    - {shape: constant, from: 0.1, until: 1B}\n    - {shape: linear, to: 0.3, until: 4B}\n"
    early = replaced(DECAY, "from: 0.1, until: 1B", "from: 0.1, until: 0.5B")
    keys = [
        phase_keys(toy(tmp_path / name, pieces).resolve("toy", "paper").stages["first"], {})
        for name, pieces in (("as", DECAY), ("late", late), ("early", early))
    ]
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]
    assert keys[0][0] != keys[2][0]


@pytest.mark.parametrize(
    ("pieces", "edits", "id", "found"),
    [
        (replaced(DECAY, "4B", "5B"), (), "I-03", "weight_decay ends at 4,000,000,000 tokens of schedule 'decay'"),
        (
            DECAY + "    - {shape: linear, from: 0.1, to: 0.2, for: 1B, jump: never read}\n", (), "I-03",
            "weight_decay ends at 4,000,000,000",
        ),
        (DECAY, other_optimizer("0.3"), "I-28", "weight_decay jumps from 0.2 to 0.3 at 2,000,000,000"),
        (
            DECAY, (*other_optimizer("{schedule: else}"), (PIPELINE, "schedules:\n", "schedules:\n  else:\n"
            "    - {shape: constant, from: 0.1, until: 1B}\n    - {shape: linear, to: 0.2, until: 2B}\n"
            "    - {shape: constant, until: 4B}\n")), "I-04", "schedule 'else' of weight_decay differs",
        ),
        (replaced(DECAY, LINEAR, "{shape: linear, to: 0.1, until: 4B}"), (), "I-36", "a linear piece from 0.1 to 0.1"),
        (replaced(DECAY, "1B", "1K"), (), "I-36", "in which no step ends"),
        (replaced(DECAY, "to: 0.4", "from: 0.1, to: 0.4", "until: 4B", "until: 4B, jump: a rise"), (), "S-07",
         "where weight_decay goes on"),
    ],
    ids=["a longer horizon", "a piece never read", "a constant that cuts a curve off", "another past",
         "a piece that does nothing", "a piece without a step", "a jump that is none"],
)  # fmt: skip
def test_what_a_slip_makes_of_a_scheduled_number_is_a_finding(
    tmp_path: Path, pieces: str, edits: tuple[tuple[str, str, str], ...], id: str, found: str
) -> None:
    told = only(findings(toy(tmp_path, pieces, *edits)), id)
    assert any(found in one.observed for one in told), told


def test_a_number_that_a_reset_stage_states_is_its_own_choice(tmp_path: Path) -> None:
    """As between two stages that state theirs: a fine-tuning may take another weight decay."""
    edits = (
        *other_optimizer("0.01"), (SECOND, "clock: continue", "clock: reset"),
        (SECOND, "schedule: main", "schedule: other"),
        (PIPELINE, "{shape: constant, from: current, until: 4B}", "{shape: constant, from: current, until: 2B}"),
        (PIPELINE, "{shape: cosine, to: 1e-4, until: 4B}", "{shape: cosine, to: 1e-4, until: 2B}"),
    )  # fmt: skip
    assert findings(toy(tmp_path, replaced(DECAY, "4B", "2B"), *edits)) == []


@pytest.mark.parametrize(
    ("pieces", "edits", "allowed"),
    [
        (replaced(DECAY, "0.4", "40"), (), "from 0 to 10"),
        (DECAY, ((PIPELINE, "{schedule: decay}", "{schedule: decal}"),), "decay, main, other"),
        (DECAY, ((PIPELINE, "{schedule: decay}", "{schedul: decay}"),), "{schedule: NAME}"),
        (replaced(DECAY, "from: 0.1", "from: current"), (), "a stated rate"),
        (replaced(DECAY, "to: 0.4", "from: 0.3, to: 0.4"), (), "a continuous weight_decay, or `jump: <reason>`"),
        (replaced(DECAY, "4B", "3B"), (), "schedules that reach the stage's end"),
    ],
)  # fmt: skip
def test_what_cannot_be_laid_is_refused_at_its_line(
    tmp_path: Path, pieces: str, edits: tuple[tuple[str, str, str], ...], allowed: str
) -> None:
    project = toy(tmp_path, pieces, *edits)
    with pytest.raises(SpecError) as error:
        project.resolve("toy", "paper")
    assert allowed in str(error.value)
    assert error.value.where.file == "specs/toy/pipeline.yaml"


def test_the_nemo_engine_refuses_it_by_name(tmp_path: Path) -> None:
    stage = toy(tmp_path).resolve("toy", "paper").stages["first"]
    layout = Parallel(
        tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=True, recompute="none"
    )
    nemo = stage.model_copy(update={"execution": stage.execution.model_copy(update={"parallel": layout})})
    assert [one.part for one in layouts.unsupported(nemo)] == ["weight_decay"]


def test_a_branch_within_a_schedule_goes_on_where_the_trunk_is_there(tmp_path: Path) -> None:
    """`from: first@...`: the trunk's numbers at that count, and the same past."""
    at = 1_000_000_000 + 1000 * 64 * 8 * 1024
    project = toy(
        tmp_path, DECAY, (SECOND, "from: first\n", f"from: first@{at}\n"),
        (SECOND, "budget: 2B", f"budget: {4_000_000_000 - at}"),
    )  # fmt: skip
    stages = project.resolve("toy", "paper").stages
    (point,) = (stage for stage in stages.values() if stage.trunk is not None)
    before, after = numbers.edge(point, stages["second"])["weight_decay"]
    assert before == pytest.approx(after, rel=1e-12)
    assert 0.1 < before < 0.2
    told = [one for one in findings(project) if one.stage == "toy/second"]
    assert [one for one in told if "weight_decay" in one.observed] == []


def z_loss(folder: Path, first: str, second: str, *edits: tuple[str, str, str]) -> list[str]:
    """What I-28 says where the phases of the first stage, and the one of the second, have these z-losses."""
    small_project.write(folder)
    edit(folder, PIPELINE, "schedules:\n", "schedules:\n  z:\n    - {shape: linear, from: 0, to: 1e-3, until: 4B}\n")
    for file, given in (("toy/first.yaml", first), (SECOND, second)):
        edit_file(folder / "specs" / file, "    data: web\n", f"    data: web\n{given}", everywhere=True)
    for file, old, new in edits:
        edit(folder, file, old, new)
    return [one.observed for one in only(findings(Project.load(folder)), "I-28")]


def test_a_z_loss_that_comes_or_goes_on_a_running_clock_is_a_jump_from_or_to_0(tmp_path: Path) -> None:
    by_schedule, stated = "    z_loss: {schedule: z}\n", "    z_loss: 1e-4\n"
    assert z_loss(tmp_path / "on", by_schedule, by_schedule) == []
    assert z_loss(tmp_path / "goes", by_schedule, "") == ["z_loss jumps from 0.0005 to 0 at 2,000,000,000"]
    assert z_loss(tmp_path / "comes", "", by_schedule) == ["z_loss jumps from 0 to 0.0005 at 2,000,000,000"]
    assert z_loss(tmp_path / "stated", stated, "") == [], "a stage's own choice, as ever"


def test_a_number_that_comes_in_with_a_later_phase_is_not_compared_with_the_parent(tmp_path: Path) -> None:
    """The phase before it has none: 0 to 1e-4 is a jump, and declared, whatever the parent ended with."""
    for jump, said in ((", jump: it comes in", []), ("", ["z_loss jumps from 0 to 0.0001 at 3,000,000,000"])):
        told = findings(z_loss_of_second_phase(tmp_path / f"case{len(jump)}", jump))
        goes = [one.observed for one in told if "z_loss" in one.observed or one.id == "S-07"]
        assert goes == ["z_loss jumps from 0.0001 to 0 at 2,000,000,000", *said]


def z_loss_of_second_phase(folder: Path, jump: str) -> Project:
    """The first stage ends with a z-loss of 1e-4; the second has none in its first phase, and a schedule's after it."""
    small_project.write(folder)
    pieces = (
        "    - {shape: constant, from: 1e-4, until: 3B}\n    - {shape: linear, from: 1e-4, to: 2e-4, until: 4B%s}\n"
    )
    edit(folder, PIPELINE, "schedules:\n", "schedules:\n  z:\n" + pieces % jump)
    for file in ("toy/first.yaml", SECOND):
        given = "    data: web\n    z_loss: {schedule: z}\n"
        edit_file(folder / "specs" / file, "    data: web\n", given, everywhere=True)
    second = (folder / "specs" / SECOND).read_text()
    head, phase = second.split("  - name: main\n")
    one, sources = phase.split("sources:")
    half = replaced(one, "budget: 2B", "budget: 1B")
    early = replaced(half, "    z_loss: {schedule: z}\n", "")
    text = f"{head}  - name: early\n{early}  - name: late\n{half}sources:{sources}"
    (folder / "specs" / SECOND).write_text(text)
    return Project.load(folder)
