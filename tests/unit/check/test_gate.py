"""An unwaived finding keeps a stage, and what is below it, from being started; nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.gate import FindingsError, Gate
from stages.commands.emit import print_script
from stages.commands.run import run_stage
from stages.spec.project import Project
from stages.sync import graph, saved_graph, workflow, write
from tests.shipped import copy
from tests.unit.spec.small_project import edit

UNMASKED = ("llama31_1m/cpt_512k.yaml", "document_mask: true", "document_mask: false")
WAIVED = "\nwaivers:\n  - {id: I-19, at: phases.main.document_mask, found: false, reason: books only}\nsources:"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped specs, whose second stage of long-context training masks no documents."""
    edit(copy(tmp_path), *UNMASKED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gate(folder: Path, scale: str = "mini") -> Gate:
    project = Project.load(folder)
    return Gate(project, scale, graph.load(folder, project, scale).stages)


def test_the_stage_and_everything_below_it_is_refused(folder: Path) -> None:
    one = gate(folder)
    for ref in ("llama31_1m/cpt_512k", "llama31_1m/cpt_1m", "llama31_1m/instruct"):
        with pytest.raises(FindingsError, match=rf"{ref} is not started: .*(?s:.)*cpt_512k.yaml:\d+: I-19"):
            one.refuse(ref)


def test_a_reading_built_on_it_is_refused(folder: Path) -> None:
    """A variant's stage may have its parents in the pipeline that it extends."""
    with pytest.raises(FindingsError, match="I-19 at llama31_1m/cpt_512k"):
        gate(folder).refuse("llama31_1m_seed001/sft_32k")


def test_what_is_above_it_and_other_pipelines_start(folder: Path) -> None:
    for ref in ("llama31_1m/base", "llama31_1m/cpt_256k", "ouro/warmup", "kimi_vl/joint_longctx"):
        gate(folder).refuse(ref)


def test_only_the_pipelines_of_its_lineage_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    real = graph.Project.resolve

    def noted(self: Project, pipeline: str, scale: str) -> object:
        checked.append(pipeline)
        return real(self, pipeline, scale)

    one = gate(folder)
    monkeypatch.setattr(Project, "resolve", noted)
    one.findings("llama31_1m/cpt_256k")
    assert set(checked) == {"llama31_1m"}


def test_a_finding_on_a_whole_pipeline_counts_for_its_stages(folder: Path) -> None:
    edit(folder, "ouro/pipeline.yaml", "tokens: 7.7T, lineage: midtrain_1_4b", "tokens: 7.8T, lineage: midtrain_1_4b")
    with pytest.raises(FindingsError, match="I-27 at ouro "):
        gate(folder, "paper").refuse("ouro/warmup")
    gate(folder, "mini").refuse("ouro/warmup")  # totals are those of full size


def test_a_waiver_lets_it_start(folder: Path) -> None:
    edit(folder, "llama31_1m/cpt_512k.yaml", "\nsources:", WAIVED)
    gate(folder).refuse("llama31_1m/instruct")


def test_stages_run_trains_nothing(folder: Path) -> None:
    with pytest.raises(FindingsError, match="llama31_1m/cpt_512k is not started"):
        run_stage("llama31_1m/cpt_512k", "mini", None)
    assert not (folder / "results").exists()


def test_no_batch_script_is_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FindingsError, match="llama31_1m/cpt_1m is not started"):
        print_script("llama31_1m/cpt_1m", "mini", None)
    assert capsys.readouterr().out == ""


def test_snakemake_asks_for_stages_that_are_to_be_run_only(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(saved_graph.GRAPH, "graph.json")
    ended: list[int] = []
    monkeypatch.setattr(workflow.os, "_exit", ended.append)
    write.sync(folder, Project.load(folder), "mini")
    flow = workflow.open_main(folder, {}, quiet=True)
    flow.refuse("ouro/warmup")
    assert ended == []
    flow.refuse("llama31_1m/cpt_1m")
    assert ended == [1]
    assert "stages: llama31_1m/cpt_1m is not started" in capsys.readouterr().err
    flow.undone.remove("llama31_1m/cpt_1m")
    flow.refuse("llama31_1m/cpt_1m")
    workflow.open_job(folder, {}).refuse("llama31_1m/instruct")  # its own `stages run` checks
    assert ended == [1]


def test_a_waiver_that_excuses_nothing_stops_its_stage(folder: Path) -> None:
    waiver = "\nwaivers:\n  - {id: I-29, at: phases.main.context, found: 8Ki, reason: an old one}\nsources:"
    edit(folder, "ouro/stable_1.yaml", "\nsources:", waiver)
    gate(folder).refuse("ouro/warmup")
    with pytest.raises(FindingsError, match="S-07 at ouro/stable_1"):
        gate(folder).refuse("ouro/keep_1_4b")


def test_a_spec_under_another_ending_stops_the_stages_that_it_may_be_meant_for(folder: Path) -> None:
    (folder / "specs/ouro/warmup.yml").write_text("stage: warmup\n")
    gate(folder).refuse("kimi_vl/joint_longctx")
    with pytest.raises(FindingsError, match=r"specs/ouro/warmup.yml:1: spec"):
        gate(folder).refuse("ouro/warmup")
