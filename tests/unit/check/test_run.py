"""Running checks: what is reported, for what, and where."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from stages.check import catalogue
from stages.check.findings import SPEC
from stages.check.registry import Invariant, static
from stages.check.rules.schedule import defaulted
from stages.check.run import check, run, run_all
from stages.commands.check import run_checks
from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.errors import SpecError, UsageError
from stages.spec.project import Project
from stages.spec.resolved_phases import Phase, ShareRamp
from stages.spec.resolved_training import Piece, Schedule
from tests.mutants import changes
from tests.mutants.mutant import ROOT, Edited
from tests.unit.check.conftest import Shipped


def test_the_catalogue_counts_without_a_gap() -> None:
    ids = [one.id for one in catalogue.ordered("I-")]
    assert ids == [f"I-{number:02}" for number in range(1, len(ids) + 1)]


@pytest.mark.parametrize("one", catalogue.ordered(), ids=lambda one: one.id)
def test_an_entry_is_complete(one: Invariant) -> None:
    assert one.title
    assert one.rule.endswith(".")
    assert one.why.endswith(".")
    assert (one.check is not None) == (one.kind == "static")
    assert one.check is not None or one.held_by, "what specs cannot decide is held by something"


@pytest.mark.parametrize("file", sorted({file for one in catalogue.ordered() for file in one.held_by}))
def test_what_holds_an_invariant_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_page_about_invariants_names_them_all() -> None:
    page = (ROOT / "docs" / "invariants.md").read_text()
    lines = {one.id: next(line for line in page.splitlines() if f"**{one.id}**" in line) for one in catalogue.ordered()}
    assert [one.id for one in catalogue.ordered() if f"{one.title}. {one.rule}" not in lines[one.id]] == []


def test_an_id_is_given_once() -> None:
    with pytest.raises(ValueError, match="two invariants are called I-03"):
        static("I-03", title="", rule="", why="", threads=())(lambda _: iter(()))


def test_an_unknown_id_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"unknown invariant 'I-036'.*I-35.*Did you mean"):
        catalogue.find("I-036")
    with pytest.raises(UsageError, match=r"Did you mean 'I-04'"):
        catalogue.find("i-04")
    with pytest.raises(UsageError, match=r"Did you mean 'I-04'"):
        catalogue.find("I-4")


def test_only_the_invariants_asked_for_are_run(shipped: Shipped) -> None:
    broken = changes.both(changes.phase("sft_1m", document_mask=False), changes.phase("sft_1m", packing="concatenate"))
    context = broken(shipped("llama31_1m"))
    assert {one.id for one in check(context, ("I-19",))} == {"I-19"}
    assert {one.id for one in check(context)} >= {"I-19", "I-20"}


def test_a_finding_names_stage_edge_file_and_line(shipped: Shipped) -> None:
    context = changes.piece("joint_cooldown", 0, first=lambda old: 2 * old.first)(shipped("kimi_vl"))
    (finding,) = (one for one in check(context, ("I-28",)) if one.waived is None)
    assert finding.stage == "kimi_vl/joint_cooldown"
    assert finding.edge == "kimi_vl/joint_pretrain -> kimi_vl/joint_cooldown"
    assert finding.where is not None
    line = (ROOT / finding.where.file).read_text().splitlines()[finding.where.line - 1]
    assert line.startswith("schedule:")
    assert finding.as_dict()["line"] == finding.where.line
    assert str(finding).startswith(f"{finding.where}: I-28 at kimi_vl/joint_pretrain -> ")


def test_a_finding_about_a_stand_in_points_below_stand_in(shipped: Shipped) -> None:
    context = changes.phase("base", document_mask=False)(shipped("llama31_1m"))
    (finding,) = check(context, ("I-19",))
    assert finding.where is not None
    assert (ROOT / finding.where.file).read_text().splitlines()[finding.where.line - 1] == "      document_mask: true"


def test_a_spec_that_cannot_be_used_is_a_finding_and_the_others_are_still_checked(tmp_path: Path) -> None:
    edited = Edited("ouro/stable_1.yaml", "context: 4Ki", "context: 4Ko")
    found = run(edited.project(tmp_path), "mini")
    (finding,) = (one for one in found if one.waived is None)
    assert finding.id == SPEC
    assert finding.stage == "ouro/stable_1"
    assert finding.where is not None
    assert finding.where.file == "specs/ouro/stable_1.yaml"


def test_a_refusal_names_the_invariant_that_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Edited("llama31_1m/pipeline.yaml", r"constant, until: 15B\}", "constant}").project(tmp_path)
    with pytest.raises(
        SpecError, match=r"found both or neither of `for` and `until`.*Give the piece one end. \(I-05\)$"
    ):
        project.resolve("llama31_1m", "mini")
    with contextlib.chdir(tmp_path):
        assert run_checks("mini", as_json=False) == 1
    assert "spec The spec cannot be used: I-05 Nothing of a schedule comes from a default" in capsys.readouterr().out


def test_the_loader_names_no_invariant_that_there_is_not() -> None:
    files = (ROOT / "stages/spec").glob("*.py")
    named = {id for file in files for id in re.findall(r'"([IS]-\d+)"', file.read_text())}
    assert named <= {one.id for one in catalogue.ordered() if one.check is not None}
    assert named >= {"I-05", "I-06", "I-13", "I-14"}, "these hold for every spec that can be read"


@pytest.mark.parametrize(
    ("old", "new", "observed"),
    [
        ("mfu: 40%", "mfu: 400%", "mfu: '400%'"),
        (r"^memory: 80 GB\n", "", "memory: nothing"),
        ("hardware: h100", "hardware: h200", "hardware: 'h200'"),
        ("runtime: 4 GB", "runtime: 90 GB", "runtime: 90 GB"),
    ],
)
def test_a_machine_is_checked_with_everything(tmp_path: Path, old: str, new: str, observed: str) -> None:
    project = Edited("hardware/h100.yaml", old, new).project(tmp_path)
    (finding,) = (one for one in run_all(project) if one.waived is None)
    assert (finding.id, finding.stage, finding.scale) == (SPEC, "hardware/h100", "every scale")
    assert finding.observed == observed
    assert [one for one in run(project, "mini") if one.waived is None] == [], "no stage that runs reads a machine"


def test_several_mistakes_in_one_reading_are_several_findings(tmp_path: Path) -> None:
    edited = Edited("ouro/stable_1.yaml", r"    context: 4Ki\n", "    context: 4Ko\n    colour: red\n")
    assert [one.id for one in run(edited.project(tmp_path), "mini") if one.waived is None] == [SPEC, SPEC]


def test_a_project_without_a_full_size_has_nothing_to_compare_with(tmp_path: Path) -> None:
    Edited("ouro/stable_1.yaml", "context: 4Ki", "context: 4Ki").project(tmp_path)
    (tmp_path / "specs" / "scales" / "paper.yaml").unlink()
    assert run(Project.load(tmp_path), "mini", {"I-35"}) == []


def test_a_model_without_heads_is_refused_with_its_line(tmp_path: Path) -> None:
    edited = Edited("scales/mini.yaml", r"(llama31_8b: .*, heads: )\d+", r"\g<1>0")
    (finding, *_) = (one for one in run(edited.project(tmp_path), "mini") if one.waived is None)
    assert finding.id == SPEC
    assert finding.stage == "scales/mini"
    assert finding.observed == "pipelines.llama31_1m.models.llama31_8b.heads: '0'"
    assert finding.expected == "a whole number, from 1 to 10M, such as 2048"


def test_a_waiver_of_what_holds_is_a_finding(tmp_path: Path) -> None:
    waiver = "waivers:\n  - {id: I-29, at: phases.main.context, found: 8Ki, reason: an old one}\nsources:"
    project = Edited("ouro/warmup.yaml", r"^sources:", waiver).project(tmp_path)
    (finding,) = (one for one in run_all(project) if one.waived is None)
    assert (finding.id, finding.stage) == ("S-07", "ouro/warmup")
    assert "I-29" in finding.observed
    assert [one for one in run_all(project, {"I-29"}) if one.waived is None] == []


def test_a_field_with_a_default_is_named() -> None:
    class Guessed(BaseModel):
        length: int = 1000
        stated: int

    assert defaulted([Guessed]) == ["Guessed.length"]
    assert defaulted([Piece, Schedule]) == []


def test_a_default_is_a_finding(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    class Guessed(BaseModel):
        length: int = 1000

    monkeypatch.setattr("stages.check.rules.schedule.NUMERIC", (Guessed,))
    (finding,) = check(shipped("ouro"), ("I-05",))
    assert finding.observed == "a default for Guessed.length"


def test_torch_is_not_imported() -> None:
    code = "import sys, stages.commands.check; sys.exit('torch' in sys.modules or 'numpy.linalg' in ())"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_ledger_that_loses_tokens_is_seen(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ledger.stretches

    def gap(phase: Phase) -> tuple[tuple[ledger.Stretch, ...], ledger.Step | None]:
        full, partial = whole(phase)
        return (replace(full[0], start=full[0].start + 1), *full[1:]), partial

    def short(phase: Phase) -> tuple[tuple[ledger.Stretch, ...], ledger.Step | None]:
        return whole(phase)[0], None

    for broken in (gap, short):
        monkeypatch.setattr(ledger, "stretches", broken)
        assert {one.id for one in check(shipped("ouro"), ("I-07",))} == {"I-07"}


def test_a_second_way_of_counting_steps_is_seen(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ledger.count
    monkeypatch.setattr(ledger, "count", lambda phase: right(phase) + 1)
    assert {one.id for one in check(shipped("ouro"), ("I-08",))} == {"I-08"}


def test_a_mixture_that_misses_its_share_is_seen(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mixture, "multimodal", lambda self, n: n)
    (finding, *_) = check(shipped("kimi_vl"), ("I-30",))
    assert finding.stage == "kimi_vl/joint_pretrain"
    assert "multimodal of the first" in finding.observed


def test_a_share_that_no_spec_declares_is_seen(shipped: Shipped) -> None:
    for pipeline, stage in (("llama31_1m", "base"), ("llama31_1m", "cpt_1m")):
        ramp = ShareRamp(first=(0, 1), last=(1, 2), over=4)
        (finding,) = check(changes.phase(stage, share=ramp)(shipped(pipeline)), ("I-30",))
        assert finding.observed == "a share that no spec declares"
