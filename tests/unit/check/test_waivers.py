"""A waiver excuses the place and the value that it names; another place, and more of it, stay findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check import facts
from stages.check.findings import Finding, unwaived
from stages.check.run import run, run_all, run_one, run_pipeline
from stages.check.waivers import excuses
from stages.spec.project import Project
from stages.spec.resolved import Waiver
from tests.edits import replaced
from tests.mutants.mutant import ROOT
from tests.shipped import copy
from tests.unit.check.reported import only
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit

JOINT = "kimi_vl/joint_pretrain.yaml"
PIPELINE = "kimi_vl/pipeline.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy(tmp_path)


def found(folder: Path, scale: str = "mini") -> list[Finding]:
    return unwaived(run(Project.load(folder), scale))


def places(findings: list[Finding]) -> set[tuple[str, tuple[str, ...], str]]:
    return {(one.id, one.at, one.found) for one in findings}


def test_one_waiver_serves_every_scale() -> None:
    project = Project.load(ROOT)
    rates = {}
    for scale in project.scales():
        (one,) = (one for one in run(project, scale) if one.stage == "kimi_vl/joint_pretrain")
        assert one.waived is not None
        rates[scale] = one.observed.split(" at ")[0]
        assert one.found == "1e-4 -> 4.2e-5"
    assert rates["mini"] != rates["paper"], "each scale has rates of its own"


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_new_jump_of_another_module_is_a_finding(folder: Path, scale: str) -> None:
    """The same stage and the same invariant: the language model no longer goes on at its own rate."""
    edit(folder, JOINT, "schedule: text", "schedule: joint")
    edit(folder, JOINT, "clock: continue", "clock: reset")
    edit(folder, PIPELINE, "\n  coca:\n", "\n  joint:\n    - {shape: constant, from: current, until: 1.4T}\n  coca:\n")
    edit(folder, PIPELINE, "[schedules.coca]", "[schedules.coca, schedules.joint]")
    jump = ("I-28", ("text_pretrain -> llm",), "4.2e-5 -> 1e-4")
    assert jump in places(found(folder, scale))
    assert not any("vit_align -> vit" in one.at for one in found(folder, scale)), "these go on at their rate"


def test_a_larger_jump_over_the_same_edge_is_a_finding(folder: Path) -> None:
    edit(folder, PIPELINE, "{shape: linear, from: current, to: 1e-4, for: 2B}",
         "{shape: linear, from: current, to: 2e-4, for: 2B}")  # fmt: skip
    at = ("vit_align -> vit", "vit_align -> projector")
    assert places(found(folder)) == {("I-28", at, "2e-4 -> 4.2e-5")}


def test_a_smaller_jump_is_excused(folder: Path) -> None:
    edit(folder, PIPELINE, "{shape: linear, from: current, to: 1e-4, for: 2B}",
         "{shape: linear, from: current, to: 8e-5, for: 2B}")  # fmt: skip
    assert found(folder) == []


def test_the_same_jump_of_a_module_that_is_not_named_is_a_finding(folder: Path) -> None:
    edit(folder, JOINT, "at: [vit_align -> vit, vit_align -> projector]", "at: vit_align -> vit")
    (one,) = found(folder)
    assert one.at == ("vit_align -> vit", "vit_align -> projector")


def test_the_same_jump_from_another_parent_is_a_finding(folder: Path) -> None:
    edit(
        folder, JOINT, "at: [vit_align -> vit, vit_align -> projector]", "at: [vit_coca -> vit, vit_coca -> projector]"
    )
    assert {one.id for one in found(folder)} == {"I-28"}


def test_a_waiver_that_excuses_nothing_says_what_is_found_instead(folder: Path) -> None:
    edit(folder, JOINT, "found: 1e-4 -> 4.2e-5", "found: 1e-4 -> 5e-5")
    jump, idle = (unwaived(run_all(Project.load(folder)))[number] for number in (0, -1))
    assert (jump.id, idle.id) == ("I-28", "S-07")
    assert "excuses 1e-4 -> 5e-5 at vit_align -> vit, vit_align -> projector" in idle.observed
    assert "1e-4 -> 4.2e-5 at vit_align -> vit, vit_align -> projector" in idle.expected
    assert idle.where is not None
    line = (folder / idle.where.file).read_text().splitlines()[idle.where.line - 1]
    assert line.strip().startswith("- id: I-28")


def test_a_waiver_of_far_more_than_is_found_says_what_is_found(folder: Path) -> None:
    """It would hide a jump that nobody has thought of."""
    edit(folder, JOINT, "found: 1e-4 -> 4.2e-5", "found: 1e-3 -> 4.2e-6")
    (one,) = unwaived(run_all(Project.load(folder)))
    assert one.id == "S-07"
    assert "excuses 1e-3 -> 4.2e-6 at vit_align -> vit, vit_align -> projector" in one.observed
    assert "1e-4 -> 4.2e-5 at vit_align -> vit, vit_align -> projector" in one.expected


def test_a_waiver_is_written_once(folder: Path) -> None:
    again = "waivers:\n  - {id: I-28, at: [vit_align -> projector, vit_align -> vit], "
    again += "found: 1e-4 -> 4.2e-5, reason: the same}\n"
    edit(folder, JOINT, "\nwaivers:\n", f"\n{again}")
    (one,) = unwaived(run_all(Project.load(folder)))
    assert (one.id, one.expected) == ("S-07", "each waiver once")


def test_a_waiver_names_no_place_where_nothing_is_found(folder: Path) -> None:
    places = "at: [vit_align -> vit, vit_align -> projector"
    edit(folder, JOINT, f"{places}]", f"{places}, text_pretrain -> llm]")
    (one,) = unwaived(run_all(Project.load(folder)))
    assert one.id == "S-07"
    assert one.observed.endswith("at text_pretrain -> llm")


CLAIM = ("ouro/pipeline.yaml", "tokens: 7.7T, lineage: midtrain_1_4b", "tokens: 7.8T, lineage: midtrain_1_4b")
OF_PIPELINE = "waivers:\n  - {id: I-27, at: claims.1, found: 7.8T -> 7.72T, reason: an erratum}\n\nmodels:"


def test_a_finding_of_a_whole_pipeline_is_waived_in_its_file(folder: Path) -> None:
    edit(folder, *CLAIM)
    (one,) = found(folder, "paper")
    assert (one.id, one.stage, one.at, one.found) == ("I-27", "ouro", ("claims.1",), "7.8T -> 7720B")
    edit(folder, "ouro/pipeline.yaml", "\nmodels:", f"\n{OF_PIPELINE}")
    assert unwaived(run_all(Project.load(folder))) == []
    assert any(one.waived == "an erratum" for one in run(Project.load(folder), "paper"))


def test_a_waiver_of_a_pipeline_that_excuses_nothing_is_a_finding(folder: Path) -> None:
    edit(folder, "ouro/pipeline.yaml", "\nmodels:", f"\n{OF_PIPELINE}")
    (one,) = unwaived(run_all(Project.load(folder)))
    assert (one.id, one.stage) == ("S-07", "ouro")
    assert one.where is not None
    assert "I-27" in (folder / one.where.file).read_text().splitlines()[one.where.line - 1]
    (alone,) = unwaived(run_one(Project.load(folder), "small"))
    assert (alone.id, alone.scale, alone.where) == ("S-07", "small", one.where)


def test_one_scale_alone_asks_the_others_whether_they_need_a_waiver(folder: Path) -> None:
    edit(folder, *CLAIM)
    edit(folder, "ouro/pipeline.yaml", "\nmodels:", f"\n{OF_PIPELINE}")
    assert not any(one.id == "I-27" for one in run(Project.load(folder), "mini")), "claims are of full size"
    assert unwaived(run_one(Project.load(folder), "mini")) == []


def test_what_a_reading_alone_leaves_unread_is_waived_in_its_file(folder: Path) -> None:
    """The variant drops the stage in which a schedule ends; what it extends reads it to its end."""
    variant = folder / "specs/llama31_cut/pipeline.yaml"
    variant.parent.mkdir()
    variant.write_text("pipeline: llama31_cut\ntitle: Llama without its last contexts\ncitation: ours\nfigure: none\n"
                       "extends: llama31_1m\ndrop: [cpt_1m, sft_32k, sft_256k, sft_1m, instruct]\n")  # fmt: skip
    cut = only(unwaived(run_all(Project.load(folder))), "I-03")
    assert {one.stage for one in cut} == {"llama31_cut"}
    (at,) = {one.at for one in cut}
    (left,) = {one.found for one in cut}
    variant.write_text(
        variant.read_text() + f"waivers:\n  - {{id: I-03, at: {at[0]}, found: {left}, reason: a pilot}}\n"
    )
    assert not any(one.id in ("I-03", "S-07") for one in unwaived(run_all(Project.load(folder))))


def test_an_entry_that_nothing_names_is_waived_in_its_file(folder: Path) -> None:
    spare = "\n  spare:\n    - {shape: constant, from: 1e-5, until: 1B}\n  coca:\n"
    edit(folder, PIPELINE, "\n  coca:\n", spare)
    edit(folder, PIPELINE, "[schedules.coca]", "[schedules.coca, schedules.spare]")
    (one,) = {(each.id, each.at, each.found) for each in unwaived(run_all(Project.load(folder)))}
    assert one == ("S-11", ("schedules.spare",), "unread")
    waiver = "waivers: [{id: S-11, at: schedules.spare, found: unread, reason: for the next variant}]\n\nmodels:"
    edit(folder, PIPELINE, "\nmodels:", f"\n{waiver}")
    assert unwaived(run_all(Project.load(folder))) == []


def test_an_unmasked_phase_does_not_excuse_another(folder: Path) -> None:
    edit(folder, "llama31_1m/cpt_1m.yaml", "document_mask: true", "document_mask: false")
    waiver = "\nwaivers:\n  - {id: I-19, at: phases.other.document_mask, found: false, reason: books only}\nsources:"
    edit(folder, "llama31_1m/cpt_1m.yaml", "\nsources:", waiver)
    assert places(found(folder)) == {("I-19", ("phases.main.document_mask",), "false")}


def test_a_longer_context_than_the_excused_one_is_a_finding() -> None:
    waiver = Waiver(id="I-29", at=("phases.main.context",), found="64Ki", reason="why")
    one = Finding("I-29", "mini", "p/s", None, "", "", "", None, at=("phases.main.context",), found="64Ki")
    assert excuses(waiver, one)
    assert not excuses(waiver, Finding(**{**vars(one), "found": "128Ki"}))
    assert not excuses(waiver, Finding(**{**vars(one), "at": ("phases.other.context",)}))
    assert not excuses(waiver, Finding(**{**vars(one), "id": "I-19"}))
    assert not excuses(waiver, Finding(**{**vars(one), "at": ()}))


@pytest.mark.parametrize(
    ("found", "excused", "is_within"),
    [
        ("1e-4 -> 4.2e-5", "1e-4 -> 4.2e-5", True),
        ("1e-4 -> 8e-5", "1e-4 -> 4.2e-5", True),
        ("4.2e-5 -> 1e-4", "1e-4 -> 4.2e-5", False),  # the other way round
        ("4.2e-5 -> 1e-5", "1e-4 -> 4.2e-5", False),  # as large a step, elsewhere
        ("0 -> 3e-4", "0 -> 1e-4", False),
        ("1.04", "1.05", True),
        ("1.06", "1.05", False),
        ("-3", "5", False),
        ("512Ki", "1Mi", True),
        ("600B", "0.6T", True),
        ("false", "false", True),
        ("none", "false", False),
        ("12", "twelve", False),
        ("1e-4", "1e-4 -> 2e-4", False),
    ],
)  # fmt: skip
def test_how_much_is_excused(found: str, excused: str, is_within: bool) -> None:
    assert facts.within(found, excused) is is_within


@pytest.mark.parametrize(
    ("excused", "found", "is_far"),
    [
        ("1e-4 -> 4.2e-5", "1e-4 -> 4.2e-5", False),
        ("1e-4 -> 4.2e-5", "8e-5 -> 4.2e-5", False),
        ("1e-4 -> 4.2e-5", "5e-5 -> 4.2e-5", True),
        ("1Mi", "512Ki", False),
        ("1Mi", "256Ki", True),
        ("-4", "-1", True),
        ("1", "0", True),
        ("false", "false", False),
    ],
)
def test_a_waiver_excuses_at_most_twice_what_is_found(excused: str, found: str, is_far: bool) -> None:
    assert facts.within(found, excused)
    assert facts.far(excused, found) is is_far


@pytest.mark.parametrize(
    "text", ["1e-4 -> 4.2e-5", "1Mi", "1.04", "0.6T -> 700B", "packing: whole", "-3", "64 seq", "40%"]
)
def test_a_fact_reads_back_as_it_was_written(text: str) -> None:
    assert facts.read(facts.write(facts.read(text))) == facts.read(text)


def test_what_several_scales_found_is_named_by_the_largest() -> None:
    assert facts.largest(["1.02", "1.4", "1.1"]) == ["1.4"]
    assert facts.largest(["1e-4 -> 5e-5", "1e-4 -> 4e-5"]) == ["1e-4 -> 4e-5"]
    assert facts.largest(["a", "b", "a"]) == ["a", "b"]
    assert facts.largest(["64 seq", "0.3 epochs", "64 seq"]) == ["64 seq", "0.3 epochs"]  # of a sweep's field


def test_results_made_before_waivers_named_a_value_can_still_be_read() -> None:
    assert Waiver.model_validate_json('["I-28", "two parents merge"]').reason == "two parents merge"


SWEEP = """\
variants: {field: schedules.other.1.to, values: {low: 5e-4, high: 0.2, top: 0.15}}
waivers:
  - {id: I-36, at: [schedule.1], found: FOUND, reason: a test}
"""


@pytest.mark.parametrize(
    ("found_there", "left"),
    [("0.2", []), ("0.15", [("I-36", "toy/second_high")]), ("0.9", [("S-07", "toy/second_low")])],
)
def test_a_waiver_of_a_sweep_is_needed_by_one_variant(tmp_path: Path, found_there: str, left: list[object]) -> None:
    """It is written once for all of them: those that do not need it say nothing, and what none needs is said once."""
    root = small_project.write(tmp_path)
    second = (root / "specs/toy/second.yaml").read_text() + replaced(SWEEP, "FOUND", found_there)
    for old, new in (("schedule: main", "schedule: other"), ("clock: continue", "clock: reset")):
        second = replaced(second, old, new)
    (root / "specs/toy/second.yaml").write_text(second)
    for name in ("toy/release", "toy_variant/pipeline", "toy_variant/second"):
        (root / f"specs/{name}.yaml").unlink()
    pieces = "    - {shape: constant, from: current, until: 1B}\n    - {shape: linear, to: 5e-4, until: 2B}"
    edit(root, "toy/pipeline.yaml", "    - {shape: constant, from: current, until: 4B}", pieces)
    edit(root, "toy/pipeline.yaml", "{shape: cosine, to: 1e-4, until: 4B}", "{shape: constant, until: 2B}")
    edit(root, "toy/pipeline.yaml", "second, release]", "second]")
    edit(root, "toy/pipeline.yaml", "lineage: second}", "lineage: second_low}")
    assert [(one.id, one.stage) for one in unwaived(run_pipeline(Project.load(root), "toy", "paper"))] == left


def test_a_waiver_of_what_a_pipeline_extends_is_asked_there(tmp_path: Path) -> None:
    """The reading corrects what its stage's waiver excuses: the waiver is not its own."""
    root = small_project.write(tmp_path)
    edit(root, "toy/second.yaml", "document_mask: true", "document_mask: false")
    mask = unwaived(run(Project.load(root), "paper"))
    (one,) = [finding for finding in mask if finding.stage == "toy/second"]
    waiver = f"waivers:\n  - {{id: {one.id}, at: [{one.at[0]}], found: {one.found}, reason: a test}}\n"
    with (root / "specs/toy/second.yaml").open("a") as file:
        file.write(waiver)
    for pipeline in ("toy", "toy_variant"):
        told = unwaived(run_pipeline(Project.load(root), pipeline, "paper"))
        assert [finding for finding in told if finding.id in (one.id, "S-07")] == []
